// What a tokenizer.json may say and may not. That ids are those of Hugging Face's own library is
// the business of tests/oracles/tokenizer_families_oracle.py.
#include "runtime/model/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

/// A folder with a tokenizer.json and what may lie beside it.
class Folder {
 public:
  Folder(const std::string& text) { write("tokenizer.json", text); }
  Folder(const json& file) : Folder(file.dump()) {}

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name) << text;
  }
  Tokenizer load(std::optional<int> embedding = {}) const {
    return load_tokenizer_json(directory_ / "tokenizer.json", embedding);
  }

 private:
  test::TemporaryDirectory directory_;
};

json added(const std::string& content, int id) { return {{"content", content}, {"id", id}}; }

/// h e l o Ġ he, and <end>.
json byte_level() {
  return {
      {"added_tokens", json::array({added("<end>", 6)})},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"},
        {"vocab", {{"h", 0}, {"e", 1}, {"l", 2}, {"o", 3}, {"\u0120", 4}, {"he", 5}}},
        {"merges", {"h e"}}}}};
}

/// <unk> <s> ▁ a b ▁a, as Llama 2 has it.
json by_characters() {
  const json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  const json back = {{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
  return {{"added_tokens", json::array({added("<s>", 1)})},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers", {{{"type", "Prepend"}, {"prepend", "\u2581"}}, replace}}}},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
            {"special_tokens", {{"<s>", {{"ids", {1}}}}}}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {back,
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab",
             {{"<unk>", 0},
              {"<s>", 1},
              {"\u2581", 2},
              {"a", 3},
              {"b", 4},
              {"\u2581"
               "a",
               5}}},
            {"merges", json::array({json::array({"\u2581", "a"})})}}}};
}

TEST(TokenizerJsonTest, BytesAreLettersOfAByteLevelFile) {
  const Tokenizer tokenizer = Folder(byte_level()).load();
  EXPECT_THAT(tokenizer.encode("hello <end>he"), ElementsAre(5, 2, 2, 3, 4, 6, 5));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("hello <end>he")), "hello <end>he");
  EXPECT_EQ(tokenizer.description(), "BPE (gpt-2), 7 tokens, 1 merges");
  EXPECT_EQ(tokenizer.end_of_text(), -1);
  DroppedBytes dropped;
  EXPECT_THAT(tokenizer.encode("hxe", &dropped), ElementsAre(5));
  EXPECT_EQ(dropped.first_offset, 1u);
}

TEST(TokenizerJsonTest, CharactersAreLettersOfALlama2File) {
  const Tokenizer tokenizer = Folder(by_characters()).load();
  EXPECT_THAT(tokenizer.encode("a a"), ElementsAre(1, 5, 5));
  EXPECT_THAT(tokenizer.encode("azzb"), ElementsAre(1, 5, 0, 4));
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{5, 5}), "a a");
}

TEST(TokenizerJsonTest, MergesMayBeStringsOrPairs) {
  json file = byte_level();
  file["model"]["merges"] = json::array({json::array({"h", "e"})});
  EXPECT_THAT(Folder(file).load().encode("he"), ElementsAre(5));
}

TEST(TokenizerJsonTest, EndsComeFromTheFilesBeside) {
  Folder folder(byte_level());
  folder.write("generation_config.json", R"({"eos_token_id": [2, 6, 3]})");
  EXPECT_THAT(folder.load().ends(), ElementsAre(2, 6, 3));
  folder.write("tokenizer_config.json", R"({"eos_token": {"content": "<end>"}})");
  EXPECT_THAT(folder.load().ends(), ElementsAre(6, 2, 3));
  folder.write("tokenizer_config.json", R"({"eos_token": "<end>"})");
  folder.write("generation_config.json", R"({"eos_token_id": 6})");
  EXPECT_THAT(folder.load().ends(), ElementsAre(6));
  folder.write("tokenizer_config.json", R"({"eos_token": null})");
  folder.write("generation_config.json", "{}");
  EXPECT_THAT(folder.load().ends(), ElementsAre());
  folder.write("tokenizer_config.json", R"({"eos_token": "<stop>"})");
  EXPECT_THAT([&] { folder.load(); },
              ThrowsMessage<DataError>(HasSubstr("key eos_token is '<stop>', no token")));
  folder.write("tokenizer_config.json", "{}");
  folder.write("generation_config.json", R"({"eos_token_id": [6, 7]})");
  EXPECT_THAT([&] { folder.load(); },
              ThrowsMessage<DataError>(HasSubstr("key eos_token_id[1] is 7, outside the 7")));
}

TEST(TokenizerJsonTest, TheModelsConfigNamesEndsWhereNoFileForGenerationIs) {
  Folder folder(byte_level());
  folder.write("config.json", R"({"eos_token_id": [6, 2, 6, 32000]})");
  EXPECT_THAT(folder.load().ends(), ElementsAre(6, 2));
  folder.write("config.json", R"({"eos_token_id": 3})");
  EXPECT_THAT(folder.load().ends(), ElementsAre(3));
  folder.write("generation_config.json", "{}");
  EXPECT_THAT(folder.load().ends(), ElementsAre());
}

TEST(TokenizerJsonTest, RowsOfTheEmbeddingWithoutATokenStandForNothing) {
  const Tokenizer tokenizer = Folder(byte_level()).load(10);
  EXPECT_EQ(tokenizer.vocabulary(), 10);
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{0, 7, 9, 1}), "he");
  EXPECT_THAT([] { Folder(byte_level()).load(6); },
              ThrowsMessage<DataError>(
                  AllOf(HasSubstr("gives '<end>' the id 6"), HasSubstr("embedding of 6 rows"))));
}

TEST(TokenizerJsonTest, AnAddedTokenIsFoundByItsFlags) {
  json file = byte_level();
  const auto with = [&](const char* flag, const std::string& text) {
    file["added_tokens"][0][flag] = true;
    const auto ids = Folder(file).load().encode(text);
    file["added_tokens"][0].erase(flag);
    return ids;
  };
  EXPECT_THAT(with("lstrip", "h  <end> e"), ElementsAre(0, 6, 4, 1));
  EXPECT_THAT(with("rstrip", "h <end>  e"), ElementsAre(0, 4, 6, 1));
  file["added_tokens"] = json::array({added("ell", 6)});
  EXPECT_THAT(with("single_word", "hello"), ElementsAre(5, 2, 2, 3));
  EXPECT_THAT(with("single_word", "h ell o"), ElementsAre(0, 4, 6, 4, 3));
}

struct Wrong {
  std::function<void(json&)> change;
  std::string message;
};

void expect_refused(const json& file, const std::vector<Wrong>& cases) {
  for (const Wrong& one : cases) {
    json changed = file;
    one.change(changed);
    EXPECT_THAT([&] { Folder(changed).load(); },
                ThrowsMessage<DataError>(AllOf(HasSubstr("tokenizer.json: key "),
                                               HasSubstr(one.message), Not(HasSubstr("\n")))));
  }
}

TEST(TokenizerJsonTest, WhatIsNotKnownIsRefusedByItsName) {
  const auto pre = [](json component) {
    return [component](json& file) { file["pre_tokenizer"] = component; };
  };
  expect_refused(
      byte_level(),
      {{[](json& f) { f["model"]["type"] = "Unigram"; }, "model.type is 'Unigram'"},
       {[](json& f) { f["model"]["dropout"] = 0.1; }, "model.dropout is set"},
       {[](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix is set"},
       {[](json& f) { f["model"]["byte_fallback"] = true; }, "byte_fallback is set beside"},
       {[](json& f) { f["model"]["unk_token"] = "<?>"; }, "unk_token is '<?>', no token"},
       {[](json& f) { f["normalizer"] = {{"type", "Lowercase"}}; },
        "is 'Lowercase'; longspan knows"},
       {[](json& f) {
          f["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "a+"}}}, {"content", "a"}};
        },
        "normalizer.pattern is no String"},
       {pre({{"type", "Whitespace"}}), "pre_tokenizer.type is 'Whitespace'"},
       {pre({{"type", "ByteLevel"}}), "sets add_prefix_space"},
       {pre({{"type", "Split"}, {"pattern", {{"Regex", ".+"}}}, {"behavior", "Isolated"}}),
        "pre_tokenizer.type is 'Split'"},
       {pre({{"type", "Sequence"},
             {"pretokenizers",
              {{{"type", "Split"}, {"pattern", {{"Regex", "(a+)+"}}}, {"behavior", "Isolated"}},
               {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}),
        "pretokenizers[0].pattern.Regex is '(a+)+', an expression of no family"},
       {[](json& f) { f["post_processor"] = {{"type", "BertProcessing"}}; }, "'BertProcessing'"},
       {[](json& f) { f["decoder"] = {{"type", "WordPiece"}}; }, "decoder.type is 'WordPiece'"}});
}

TEST(TokenizerJsonTest, AFileThatContradictsItselfIsRefused) {
  expect_refused(
      byte_level(),
      {{[](json& f) { f["model"]["vocab"]["x"] = 5; }, "gives the id 5 to 'he' and to 'x'"},
       {[](json& f) { f["model"]["vocab"]["x"] = -1; }, "gives 'x' the id -1"},
       {[](json& f) { f["model"]["vocab"]["x"] = 1 << 30; }, "the id 1073741824, outside"},
       {[](json& f) { f["model"]["vocab"]["x"] = ~std::uint64_t{0}; }, "gives 'x' the id -1"},
       {[](json& f) { f["model"]["vocab"]["x"] = "7"; }, "gives 'x' an id that is no integer"},
       {[](json& f) { f["model"]["vocab"] = json::array(); },
        "vocab is a list; expected an object"},
       {[](json& f) { f["model"]["merges"] = {"h x"}; }, "model.merges[0] names 'hx', no token"},
       {[](json& f) { f["model"]["merges"] = {"h  e"}; }, "merges[0] is neither two words"},
       {[](json& f) { f["model"]["merges"] = {1}; }, "merges[0] is neither two words"},
       {[](json& f) { f["model"]["merges"] = {"h e", "h e"}; }, "merges[1] repeats a merge"},
       {[](json& f) { f["model"]["merges"] = 3; }, "merges is an integer; expected a list"},
       {[](json& f) { f["added_tokens"].push_back(added("<end>", 7)); }, "'<end>' a second time"},
       {[](json& f) { f["added_tokens"].push_back(added("<x>", 6)); },
        "id 6 to '<end>' and to '<x>'"},
       {[](json& f) { f["added_tokens"].push_back(added("he", 7)); }, "model.vocab gives it 5"},
       {[](json& f) { f["added_tokens"].push_back(added("", 7)); }, "has a content of 0 bytes"},
       {[](json& f) { f["added_tokens"].push_back(added(std::string(513, 'x'), 7)); }, "513 bytes"},
       {[](json& f) { f["added_tokens"][0]["lstrip"] = 1; }, "[0].lstrip is an integer; expected"},
       {[](json& f) { f["model"]["ignore_merges"] = "yes"; },
        "ignore_merges is a string; expected"}});
  expect_refused(
      by_characters(),
      {{[](json& f) { f["post_processor"]["special_tokens"]["<s>"]["ids"] = {6}; },
        "ids[0] is 6, outside the 6 tokens"},
       {[](json& f) { f["post_processor"]["single"] = json::array(); }, "leaves the text out"},
       {[](json& f) { f["decoder"]["decoders"][3]["start"] = 2; }, "strips more than"},
       {[](json& f) { f["normalizer"]["normalizers"][0]["prepend"] = std::string(65, 'x'); },
        "prepend has 65 bytes"},
       {[](json& f) {
          const json grow = {{"type", "Replace"},
                             {"pattern", {{"String", "a"}}},
                             {"content", std::string(10, 'a')}};
          f["normalizer"]["normalizers"] = json::array({grow, grow});
        },
        "can make a text 100 times as long"},
       {[](json& f) {
          f["normalizer"]["normalizers"] = json::array();
          for (int i = 0; i < 17; ++i) f["normalizer"]["normalizers"].push_back({{"type", "NFC"}});
        },
        "normalizers has 17 elements"},
       {[](json& f) {
          f["post_processor"]["special_tokens"]["<s>"]["ids"] = std::vector<int>(65, 1);
        },
        "puts 65 tokens beside a text"}});
}

TEST(TokenizerJsonTest, ADamagedFileIsRefusedInOneLine) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "is not JSON from byte"},
      {"{", "is not JSON from byte"},
      {"[]", "is a list; expected an object"},
      {"{}", "has no model"},
      {R"({"model": {}})", "key model has no type"},
      {R"({"model": {"type": "BPE", "type": "BPE"}})", "has key 'type' twice"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}}})", "has key 'a' twice"},
      {"{\"model\": \"\xff\"}", "is not JSON from byte 12"},
      {std::string(1000000, '['), "has values nested 33 deep"},
      {R"({"model": {"type": "BPE", "vocab": {}, "merges": []}})", "model.vocab is empty"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT([&] { Folder(text).load(); },
                ThrowsMessage<DataError>(AllOf(HasSubstr("tokenizer.json: "), HasSubstr(message),
                                               Not(HasSubstr("\n")))));
  }
  EXPECT_THROW(load_tokenizer_json("no such folder/tokenizer.json"), MissingInput);
}

/// Anything may be cut out of a file or doubled: it loads or is refused, and never more.
TEST(TokenizerJsonTest, AFileThatWasCutAnywhereIsRefused) {
  const std::string whole = by_characters().dump();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(Folder(whole.substr(0, size)).load(), DataError) << size;
  }
}

}  // namespace
}  // namespace longspan
