// The tokenizer of a real model against what Hugging Face's library gave for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "runtime/model/gguf.h"
#include "runtime/model/model_config.h"
#include "runtime/model/tokenizer.h"
#include "tests/runtime/model/random_text.h"

namespace longspan {
namespace {

using ::testing::HasSubstr;

/// The model that LONGSPAN_TEST_MODEL names. Without it a test fails: skipping would hide that
/// nothing was compared.
std::filesystem::path model_path() {
  const char* path = std::getenv("LONGSPAN_TEST_MODEL");
  if (path == nullptr || !std::filesystem::exists(path)) {
    throw std::runtime_error(
        std::string("LONGSPAN_TEST_MODEL must name SmolLM2-135M-Instruct.Q4_1.gguf (configure with "
                    "-DLONGSPAN_TEST_MODEL=FILE); it is ") +
        (path ? path : "not set"));
  }
  return path;
}

class TokenizerSmolLm2Test : public ::testing::Test {
 protected:
  static nlohmann::json goldens() {
    std::ifstream file(LONGSPAN_TEST_DATA_DIR "/smollm2/goldens.json");
    return nlohmann::json::parse(file).at("cases");
  }

  const GgufFile file_{model_path()};
  const Tokenizer tokenizer_{file_};
};

TEST_F(TokenizerSmolLm2Test, TheModelIsAsItsCardSays) {
  const ModelConfig config = read_model_config(file_);
  EXPECT_EQ(config.layers, 30);
  EXPECT_EQ(config.hidden, 576);
  EXPECT_EQ(config.ffn, 1536);
  EXPECT_EQ(config.heads.query_heads, 9);
  EXPECT_EQ(config.heads.kv_heads, 3);
  EXPECT_EQ(config.heads.head_dim, 64);
  EXPECT_EQ(config.vocabulary, 49152);
  EXPECT_EQ(config.context, 8192);
  EXPECT_EQ(config.ropes.distinct().front().base, 100000);
  EXPECT_TRUE(config.tied_output);
  EXPECT_EQ(tokenizer_.description(), "gpt2 (smollm), 49152 tokens, 48900 merges");
  EXPECT_EQ(tokenizer_.end_of_text(), 2);
}

TEST_F(TokenizerSmolLm2Test, EveryGoldenPromptHasItsIds) {
  const nlohmann::json cases = goldens();
  ASSERT_FALSE(cases.empty());
  for (const auto& one : cases) {
    EXPECT_EQ(tokenizer_.encode(one.at("text").get<std::string>()),
              one.at("prompt_ids").get<std::vector<TokenId>>())
        << one.at("name");
  }
}

TEST_F(TokenizerSmolLm2Test, EveryGoldenAnswerHasItsText) {
  for (const auto& one : goldens()) {
    EXPECT_EQ(tokenizer_.decode(one.at("ids").get<std::vector<TokenId>>()),
              one.at("output_text").get<std::string>())
        << one.at("name");
  }
}

TEST_F(TokenizerSmolLm2Test, DecodingGivesBackEveryTextOfWhichNothingWasDropped) {
  std::mt19937_64 random(29);
  int whole = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = test::random_text(random, static_cast<int>(random() % 30));
    DroppedBytes dropped;
    const std::vector<TokenId> ids = tokenizer_.encode(text, &dropped);
    if (dropped.count > 0) continue;
    ASSERT_EQ(tokenizer_.decode(ids), text);
    ++whole;
  }
  EXPECT_GT(whole, 500);
}

TEST_F(TokenizerSmolLm2Test, AByteThatTheVocabularyLacksIsDropped) {
  DroppedBytes dropped;
  std::vector<TokenId> expected = tokenizer_.encode("Hel");  // the byte still ends the word
  for (const TokenId id : tokenizer_.encode("lo")) expected.push_back(id);
  EXPECT_EQ(tokenizer_.encode("Hel\x04lo", &dropped), expected);
  EXPECT_EQ(dropped.count, 1u);
  EXPECT_THAT(dropped.warning(), HasSubstr("0x04 at byte 3"));
}

TEST_F(TokenizerSmolLm2Test, AMegabyteOfOneThingCostsNoMoreThanProse) {
  // 0.02 to 0.45 s each (2-core Zen 3), while a quadratic merge would take an hour and run into the
  // test's time limit.
  for (const std::string unit :
       {"a", " ", "\n", "7", "é", "漢", "ab", "!", " \n", "'s", "<|im_start|>", "<|im_start"}) {
    std::string text;
    while (text.size() < (1 << 20)) text += unit;
    const std::vector<TokenId> ids = tokenizer_.encode(text);
    EXPECT_EQ(tokenizer_.decode(ids), text) << unit;
  }
}

}  // namespace
}  // namespace longspan
