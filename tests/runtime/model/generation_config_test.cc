#include "runtime/model/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "comm/error.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class GenerationConfigTest : public testing::Test {
 protected:
  std::string file(const std::string& text) {
    std::ofstream(folder_ / "generation_config.json") << text;
    return (folder_ / "generation_config.json").string();
  }
  GenerationConfig read(const std::string& text) { return read_generation_config(file(text)); }
  std::string refusal(const std::string& text) {
    try {
      read(text);
    } catch (const DataError& error) {
      return error.what();
    }
    return "(accepted)";
  }

  test::TemporaryDirectory folder_;
};

TEST_F(GenerationConfigTest, EveryKeyReachesItsField) {
  const GenerationConfig config = read(
      R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.05,
          "repetition_penalty": 1.05, "eos_token_id": [128001, 128009], "bos_token_id": 1,
          "transformers_version": "5.0"})");
  EXPECT_TRUE(config.do_sample);
  EXPECT_EQ(config.temperature, 0.6);
  EXPECT_EQ(config.top_k, 20);
  EXPECT_EQ(config.top_p, 0.9);
  EXPECT_EQ(config.min_p, 0.05);
  EXPECT_EQ(config.repetition_penalty, 1.05);
  EXPECT_THAT(config.end_of_text, ElementsAre(128001, 128009));
}

TEST_F(GenerationConfigTest, WhatIsMissingOrNullIsAbsent) {
  const GenerationConfig config = read(R"({"temperature": null, "eos_token_id": 2})");
  EXPECT_FALSE(config.do_sample);
  EXPECT_FALSE(config.temperature);
  EXPECT_FALSE(config.top_k);
  EXPECT_THAT(config.end_of_text, ElementsAre(2));
}

TEST_F(GenerationConfigTest, WhatIsOutOfRangeIsRefusedByName) {
  for (const auto& [text, reason] : std::vector<std::pair<const char*, const char*>>{
           {R"({"temperature": 2.5})", "temperature must be a number from 0 to 2, not 2.5"},
           {R"({"temperature": "warm"})", "temperature must be a number"},
           {R"({"top_p": 0})", "top_p must be a number above 0 and up to 1, not 0"},
           {R"({"min_p": -1})", "min_p must be"},
           {R"({"top_k": 1.5})", "top_k must be a whole number"},
           {R"({"top_k": -2})", "top_k must be a whole number"},
           {R"({"repetition_penalty": 11})", "repetition_penalty must be"},
           {R"({"do_sample": 1})", "do_sample must be true or false"},
           {R"({"eos_token_id": [1, "x"]})", "eos_token_id must be a token id"},
           {R"({"eos_token_id": -1})", "eos_token_id must be a token id"},
           {R"([1])", "not a JSON object"},
           {R"({"top_p": )", "not a JSON object"}}) {
    EXPECT_THAT(refusal(text), HasSubstr(reason)) << text;
    EXPECT_THAT(refusal(text), HasSubstr("generation_config.json: ")) << text;
  }
}

TEST_F(GenerationConfigTest, AFolderMayHaveOneAndAFileHasNone) {
  EXPECT_FALSE(generation_config_of(folder_.path().string()).do_sample);
  const std::string path = file(R"({"do_sample": true})");
  EXPECT_TRUE(generation_config_of(folder_.path().string()).do_sample);
  EXPECT_FALSE(generation_config_of(path).do_sample);  // no folder of that name
  EXPECT_FALSE(generation_config_of("/nowhere/at/all").do_sample);
  EXPECT_THROW(read_generation_config("/nowhere/at/all"), IoError);
}

}  // namespace
}  // namespace longspan
