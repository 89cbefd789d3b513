#include "runtime/model/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "runtime/model/gguf.h"
#include "tests/runtime/model/random_text.h"
#include "tests/runtime/model/tiny_tokenizer.h"

namespace longspan {
namespace {

using test::GgufWriter;
using test::tiny_tokenizer_writer;
using test::tokenizer_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

// Of the tiny tokenizer: bytes are their own ids, then come the results of its merges.
constexpr TokenId kHe = 256, kLl = 257, kSpaceT = 258, kSpaceThe = 259, kHell = 260,
                  kTwoSpaces = 261, kEnd = test::kTinyEndOfText;

TEST(TokenizerTest, MergesApplyByRank) {
  const Tokenizer tokenizer = tokenizer_of(tiny_tokenizer_writer());
  EXPECT_THAT(tokenizer.encode("hello"), ElementsAre(kHell, 'o'));
  EXPECT_THAT(tokenizer.encode("he the"), ElementsAre(kHe, kSpaceThe));
  EXPECT_THAT(tokenizer.encode("lll"), ElementsAre(kLl, 'l'));  // leftmost among equals
  EXPECT_THAT(tokenizer.encode(""), IsEmpty());
  EXPECT_EQ(tokenizer.description(), "gpt2 (smollm), 264 tokens, 7 merges");
}

TEST(TokenizerTest, MergesDoNotCrossPieces) {
  const Tokenizer tokenizer = tokenizer_of(tiny_tokenizer_writer());
  EXPECT_THAT(tokenizer.encode("12"), ElementsAre('1', '2'));  // each digit is a piece
  EXPECT_THAT(tokenizer.encode("    t"), ElementsAre(kTwoSpaces, ' ', kSpaceT));
  EXPECT_THAT(tokenizer.encode("   1"), ElementsAre(kTwoSpaces, ' ', '1'));
  EXPECT_THAT(tokenizer.encode("    "), ElementsAre(kTwoSpaces, kTwoSpaces));
}

TEST(TokenizerTest, TheGpt2RuleKeepsDigitsTogether) {
  GgufWriter writer = tiny_tokenizer_writer();
  constexpr TokenId kTwelve = 262;
  for (const auto* pre : {"gpt-2", "gpt2", "default"}) {
    writer.set_string("tokenizer.ggml.pre", pre);
    EXPECT_THAT(tokenizer_of(writer).encode("12 12"), ElementsAre(kTwelve, ' ', kTwelve));
  }
}

TEST(TokenizerTest, SpecialTokensAreTakenOutFirst) {
  const Tokenizer tokenizer = tokenizer_of(tiny_tokenizer_writer());
  EXPECT_THAT(tokenizer.encode("he<|endoftext|>ll"), ElementsAre(kHe, kEnd, kLl));
  EXPECT_THAT(tokenizer.encode("<|endoftext|><|endoftext|>"), ElementsAre(kEnd, kEnd));
  EXPECT_THAT(tokenizer.encode("<<|endoftext|>|>"), ElementsAre('<', kEnd, '|', '>'));
  EXPECT_EQ(tokenizer.encode("<|endoftext|").size(), 12u);
  EXPECT_EQ(tokenizer.bytes(kEnd), "<|endoftext|>");
  EXPECT_EQ(tokenizer.end_of_text(), kEnd);
}

TEST(TokenizerTest, TheLongestOfSeveralSpecialTokensWins) {
  GgufWriter writer;
  test::set_tiny_tokenizer(writer, test::kTinyTokens);
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  for (const auto* token : {"a", "b", "<x", "<x>", "<x>y", "é"}) tokens.push_back(token);
  types = {1, 1, 4, 3, 4, 3};
  writer.set_strings("tokenizer.ggml.tokens", tokens);
  writer.set_int32s("tokenizer.ggml.token_type", types);
  writer.set_strings("tokenizer.ggml.merges", {});
  writer.remove("tokenizer.ggml.eos_token_id");
  writer.remove("tokenizer.ggml.bos_token_id");
  const Tokenizer tokenizer = tokenizer_of(writer);
  EXPECT_THAT(tokenizer.encode("<x>y<xa<x><x>éb"), ElementsAre(4, 2, 0, 3, 3, 5, 1));
  EXPECT_EQ(tokenizer.end_of_text(), -1);
}

TEST(TokenizerTest, WherePiecesComeFirstMergesNeedNotReachThem) {
  GgufWriter writer = tiny_tokenizer_writer();
  writer.set_string("tokenizer.ggml.pre", "gpt-2");
  EXPECT_THAT(tokenizer_of(writer).encode("whole"), ::testing::SizeIs(5));
  std::vector<std::string> tokens{"w", "h", "o", "l", "e", "ole", "whole"};
  writer.set_strings("tokenizer.ggml.tokens", tokens);
  writer.remove("tokenizer.ggml.token_type");
  writer.set_strings("tokenizer.ggml.merges", {});
  writer.remove("tokenizer.ggml.eos_token_id");
  writer.remove("tokenizer.ggml.bos_token_id");
  for (const auto* pre : {"llama-bpe", "llama3", "tekken"}) {
    writer.set_string("tokenizer.ggml.pre", pre);
    EXPECT_THAT(tokenizer_of(writer).encode("whole"), ElementsAre(6)) << pre;
  }
}

TEST(TokenizerTest, Qwen2ComposesTextFirst) {
  GgufWriter writer = tiny_tokenizer_writer();
  for (const auto& [pre, bytes] : {std::pair("qwen2", 2), {"deepseek-r1-qwen", 3}}) {
    writer.set_string("tokenizer.ggml.pre", pre);
    EXPECT_EQ(tokenizer_of(writer).encode("e\u0301").size(), bytes);
  }
}

TEST(TokenizerTest, SomeFamiliesAddBosByThemselves) {
  GgufWriter writer = tiny_tokenizer_writer();
  writer.set_string("tokenizer.ggml.pre", "llama-bpe");
  EXPECT_THAT(tokenizer_of(writer).encode("he"), ElementsAre(kHe));  // the file says false
  writer.remove("tokenizer.ggml.add_bos_token");
  EXPECT_THAT(tokenizer_of(writer).encode("he"), ElementsAre(kEnd, kHe));
  writer.remove("tokenizer.ggml.bos_token_id");
  EXPECT_THAT(tokenizer_of(writer).encode("he"), ElementsAre(kHe));
}

TEST(TokenizerTest, EveryTokenThatEndsATextIsKnown) {
  GgufWriter writer = tiny_tokenizer_writer();
  writer.set_uint32("tokenizer.ggml.eot_token_id", 7);
  writer.set_uint32("tokenizer.ggml.eom_token_id", kEnd);
  const Tokenizer tokenizer = tokenizer_of(writer);
  EXPECT_THAT(tokenizer.ends(), ElementsAre(kEnd, 7));
  EXPECT_EQ(tokenizer.end_of_text(), kEnd);
}

TEST(TokenizerTest, EosIsAddedWhenTheFileAsks) {
  GgufWriter writer = tiny_tokenizer_writer();
  writer.set_bool("tokenizer.ggml.add_eos_token", true);
  EXPECT_THAT(tokenizer_of(writer).encode("he"), ElementsAre(kHe, kEnd));
}

TEST(TokenizerTest, BosIsAddedOnlyWhenTheFileAsks) {
  GgufWriter writer = tiny_tokenizer_writer();
  writer.set_bool("tokenizer.ggml.add_bos_token", true);
  EXPECT_THAT(tokenizer_of(writer).encode("he"), ElementsAre(kEnd, kHe));
  EXPECT_THAT(tokenizer_of(writer).encode(""), ElementsAre(kEnd));
  writer.remove("tokenizer.ggml.bos_token_id");
  EXPECT_THAT([&] { tokenizer_of(writer); },
              ThrowsMessage<DataError>(HasSubstr("tokenizer.ggml.bos_token_id is missing")));
}

TEST(TokenizerTest, TextThatIsNotUtf8IsRefusedWithItsOffset) {
  const Tokenizer tokenizer = tokenizer_of(tiny_tokenizer_writer());
  EXPECT_THAT([&] { tokenizer.encode("a long prefix é\xff"); },
              ThrowsMessage<DataError>(HasSubstr("byte 16 is 0xff")));
  for (const auto* bad :
       {"\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe2\x82"}) {
    EXPECT_THROW(tokenizer.encode(bad), DataError);
  }
}

TEST(TokenizerTest, BytesWithoutATokenAreDroppedAndCounted) {
  GgufWriter writer = tiny_tokenizer_writer();
  std::vector<std::string> tokens{"h", "e", "he"};
  writer.set_strings("tokenizer.ggml.tokens", tokens);
  writer.set_int32s("tokenizer.ggml.token_type", {1, 1, 1});
  writer.set_strings("tokenizer.ggml.merges", {"h e"});
  writer.remove("tokenizer.ggml.eos_token_id");
  writer.remove("tokenizer.ggml.bos_token_id");
  const Tokenizer tokenizer = tokenizer_of(writer);
  DroppedBytes dropped;
  // Its neighbours then stand side by side and may merge.
  EXPECT_THAT(tokenizer.encode("eh\u00e9e", &dropped), ElementsAre(1, 2));
  EXPECT_EQ(dropped.count, 2u);
  EXPECT_THAT(dropped.warning(), HasSubstr("the first is 0xc3 at byte 2"));
  EXPECT_THAT(tokenizer.encode("xyz", &dropped), IsEmpty());
  EXPECT_EQ(dropped.count, 5u);
}

TEST(TokenizerTest, ThreadsMayShareOne) {
  const Tokenizer tokenizer = tokenizer_of(tiny_tokenizer_writer());
  std::vector<std::jthread> threads;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    threads.emplace_back([&tokenizer, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 100; ++i) {
        const std::string text = test::random_text(random, 30);
        EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
      }
    });
  }
}

TEST(TokenizerTest, DecodingGivesBackEveryText) {
  const Tokenizer tokenizer = tokenizer_of(tiny_tokenizer_writer());
  std::mt19937_64 random(11);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = test::random_text(random, static_cast<int>(random() % 40));
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

/// By the definition, with a scan over all pairs per merge: O(n^2) and obvious.
std::vector<TokenId> merged_slowly(const std::map<std::pair<TokenId, TokenId>, int>& ranks,
                                   TokenId first_merged, std::vector<TokenId> ids) {
  while (true) {
    int best = std::numeric_limits<int>::max();
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto rank = ranks.find({ids[i], ids[i + 1]});
      if (rank == ranks.end() || rank->second >= best) continue;
      best = rank->second;
      where = i;
    }
    if (best == std::numeric_limits<int>::max()) return ids;
    ids[where] = first_merged + best;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

TEST(TokenizerTest, RandomMergesEqualTheDefinition) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> tokens{"a", "b", "c"}, merges;
    std::map<std::pair<TokenId, TokenId>, int> ranks;
    while (merges.size() < 40) {
      const auto left = static_cast<TokenId>(random() % tokens.size());
      const auto right = static_cast<TokenId>(random() % tokens.size());
      const std::string joined = tokens[left] + tokens[right];
      if (std::ranges::find(tokens, joined) != tokens.end()) continue;
      ranks[{left, right}] = static_cast<int>(merges.size());
      merges.push_back(tokens[left] + " " + tokens[right]);
      tokens.push_back(joined);
    }
    GgufWriter writer = tiny_tokenizer_writer();
    writer.set_strings("tokenizer.ggml.tokens", tokens);
    writer.remove("tokenizer.ggml.token_type");
    writer.set_strings("tokenizer.ggml.merges", merges);
    writer.remove("tokenizer.ggml.eos_token_id");
    const Tokenizer tokenizer = tokenizer_of(writer);
    for (int i = 0; i < 50; ++i) {
      std::string text;
      std::vector<TokenId> letters;
      for (std::uint64_t left = random() % 120; left > 0; --left) {
        letters.push_back(static_cast<TokenId>(random() % 3));
        text += static_cast<char>('a' + letters.back());
      }
      ASSERT_EQ(tokenizer.encode(text), merged_slowly(ranks, 3, letters)) << text;
    }
  }
}

struct Contradiction {
  std::function<void(GgufWriter&)> change;
  std::string message;
};

TEST(TokenizerTest, ATokenizerThatContradictsItselfIsRefused) {
  const std::string ggml = "tokenizer.ggml.";
  const auto strings = [&](std::string key, std::vector<std::string> values) {
    return [=](GgufWriter& writer) { writer.set_strings("tokenizer.ggml." + key, values); };
  };
  const auto removed = [&](std::string key) {
    return [=](GgufWriter& writer) { writer.remove("tokenizer.ggml." + key); };
  };
  const std::vector<Contradiction> cases{
      {[&](auto& w) { w.set_string(ggml + "model", "bert"); }, "model is 'bert'; longspan reads"},
      {[&](auto& w) { w.set_string(ggml + "pre", "viking"); },
       "knows: smollm, gpt-2, gpt2, default, llama-bpe"},
      {removed("model"), "key tokenizer.ggml.model is missing"},
      {removed("pre"), "key tokenizer.ggml.pre is missing"},
      {removed("tokens"), "key tokenizer.ggml.tokens is missing"},
      {removed("merges"), "key tokenizer.ggml.merges is missing"},
      {strings("tokens", {}), "tokens is empty"},
      {strings("tokens", {"a", "b"}), "token_type has 264 entries for 2 tokens"},
      {strings("merges", {"h e", "h e"}), "has 'h e' a second time as merge 1"},
      {strings("merges", {"h x"}), "names 'hx' in merge 0, no token"},
      {strings("merges", {"xy he"}), "in merge 0, no token"},
      {strings("merges", {"he"}), "has 'he' as merge 0, not two words"},
      {strings("merges", {"h e l"}), "has 'h e l' as merge 0, not two words"},
      {[&](auto& w) { w.set_uint32(ggml + "eos_token_id", 264); },
       "is 264, outside the 264 tokens"},
      {[&](auto& w) { w.set_raw(ggml + "eos_token_id", 5, test::encoded(std::int32_t{-2})); },
       "eos_token_id is -2, outside"},
      {[&](auto& w) { w.set_int32s(ggml + "token_type", std::vector<std::int32_t>(264, 7)); },
       "gives token 0 the unknown type 7"},
  };
  for (const Contradiction& one : cases) {
    GgufWriter writer = tiny_tokenizer_writer();
    one.change(writer);
    EXPECT_THAT([&] { tokenizer_of(writer); }, ThrowsMessage<DataError>(HasSubstr(one.message)));
  }
}

TEST(TokenizerTest, TokensMustBeUniqueWholeAndNotEmpty) {
  const auto with_last = [](const std::string& token, std::int32_t type) {
    GgufWriter writer;
    test::set_tiny_tokenizer(writer, test::kTinyTokens);
    writer.set_strings("tokenizer.ggml.tokens", {"a", "b", token});
    writer.set_int32s("tokenizer.ggml.token_type", {1, 1, type});
    writer.set_strings("tokenizer.ggml.merges", {});
    return writer;
  };
  const std::vector<std::pair<GgufWriter, std::string>> cases{
      {with_last("a", 1), "has 'a' twice, as 0 and 2"},
      {with_last("", 3), "has an empty token, 2"},
      {with_last("\xa9", 3), "has a token that is not UTF-8, 2"},  // would match half a character
      {with_last(std::string(513, 'x'), 4), "has a special token of 513 bytes, 2"},
  };
  for (const auto& [writer, message] : cases) {
    EXPECT_THAT([&] { tokenizer_of(writer); }, ThrowsMessage<DataError>(HasSubstr(message)));
  }
}

TEST(TokenizerTest, AnIdOutsideTheVocabularyIsTheCallersMistake) {
  const Tokenizer tokenizer = tokenizer_of(tiny_tokenizer_writer());
  EXPECT_THROW(tokenizer.bytes(-1), std::logic_error);
  EXPECT_THROW(tokenizer.bytes(tokenizer.vocabulary()), std::logic_error);
}

}  // namespace
}  // namespace longspan
