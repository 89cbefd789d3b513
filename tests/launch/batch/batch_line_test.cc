#include "launch/batch/batch_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace longspan {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr std::int64_t kVocabulary = 300;

BatchLine read(const std::string& text) {
  return read_batch_line({.number = 7, .text = text}, kVocabulary);
}

const json kGood = json::parse(
    R"({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}})");

BatchLine with(const std::string& key, const json& value) {
  json line = kGood;
  line[key] = value;
  return read(line.dump());
}

TEST(BatchLineTest, AGoodLineIsARequest) {
  const BatchLine line = read(kGood.dump());
  EXPECT_EQ(line.custom_id, "a");
  ASSERT_TRUE(line.request);
  EXPECT_EQ(line.request->prompts.at(0).text, "x");
}

TEST(BatchLineTest, WhatIsWrongSaysWhere) {
  EXPECT_EQ(read("{").error.code, "invalid_json");
  EXPECT_EQ(read("").error.code, "invalid_json");
  EXPECT_EQ(read("7").error.code, "invalid_value");
  EXPECT_EQ(read(std::string(100'000, '[')).error.code, "invalid_json");
  EXPECT_EQ(read("{\"a\": \"\xff\"}").error.code, "invalid_json") << "not UTF-8";
  EXPECT_EQ(read(R"({"custom_id": "a", "custom_id": "b"})").error.code, "invalid_json");
  for (const char* key : {"custom_id", "method", "url", "body"}) {
    EXPECT_EQ(with(key, nullptr).error.param, key);
    EXPECT_FALSE(with(key, nullptr).request);
  }
  EXPECT_EQ(with("custom_id", 7).error.param, "custom_id");
  EXPECT_EQ(with("custom_id", "").error.param, "custom_id");
  EXPECT_EQ(with("method", "GET").error.status, 405);
  EXPECT_EQ(with("url", "/v1/embeddings").error.status, 404);
  EXPECT_EQ(with("body", json::array()).error.code, "invalid_value");
  EXPECT_EQ(with("body", {{"prompt", "x"}, {"stream", true}}).error.param, "stream");
  EXPECT_EQ(with("body", {{"prompt", "x"}, {"lora_path", "y"}}).error.code,
            "unsupported_parameter");
}

TEST(BatchLineTest, ARefusedLineKeepsItsName) {
  EXPECT_EQ(with("url", "/v1/embeddings").custom_id, "a");
  EXPECT_EQ(with("body", {{"prompt", 7}}).custom_id, "a");
}

/// Cut anywhere, and with any byte of some replaced: never an exception, and never neither a
/// request nor a reason.
TEST(BatchLineTest, ADamagedLineIsARequestOrAReason) {
  const std::string good =
      R"({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {)"
      R"("messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "n": 2, )"
      R"("temperature": 0.5, "top_k": 3, "seed": -7, "stop": ["a", "b"], "stop_token_ids": [1], )"
      R"("logit_bias": {"5": -1.5}, "logprobs": true, "top_logprobs": 2, "max_tokens": 9, )"
      R"("response_format": {"type": "text"}, "tools": null}})";
  ASSERT_TRUE(read(good).request) << read(good).error.message;
  const auto expect_sense = [](const std::string& text) {
    const BatchLine line = read(text);
    EXPECT_NE(line.request.has_value(), !line.error.message.empty()) << text;
  };
  for (std::size_t at = 0; at < good.size(); ++at) {
    expect_sense(good.substr(0, at));
    for (const char byte : {'0', '9', '"', '[', '}', '-', 'e', ',', '\0', '\x80'}) {
      std::string damaged = good;
      damaged[at] = byte;
      expect_sense(damaged);
    }
  }
}

TEST(BatchLineTest, ALineThatIsTooLongIsRefused) {
  const BatchLine line = read_batch_line({.number = 1, .text = "{", .too_long = true}, 300);
  EXPECT_EQ(line.error.status, 413);
}

TEST(BatchLineTest, AnAnswerNamesItsLineAndIsReadBack) {
  const LineName name{.number = 7, .digest = 0x0f86d081884c7d65};
  const std::string text = answer_line(name, "a", {{"object", "x"}});
  EXPECT_EQ(text,
            R"({"id":"batch_req_7_0f86d081884c7d65","custom_id":"a","response":{"status_code":200,)"
            R"("request_id":"req_7_0f86d081884c7d65","body":{"object":"x"}},"error":null})"
            "\n");
  const auto answered = read_answered_line(text);
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->name.number, 7);
  EXPECT_EQ(answered->name.digest, name.digest);
  EXPECT_FALSE(answered->failed);
}

TEST(BatchLineTest, AnErrorNamesTheLineForPeopleToo) {
  const json line = json::parse(error_line({.number = 7}, "", {.message = "n is odd"}));
  EXPECT_EQ(line["custom_id"], nullptr);
  EXPECT_EQ(line["response"]["status_code"], 400);
  EXPECT_EQ(line["error"]["message"], "line 7: n is odd");
  EXPECT_EQ(line["response"]["body"]["error"], line["error"]);
  EXPECT_TRUE(read_answered_line(line.dump())->failed);
}

TEST(BatchLineTest, AnotherLineIsNoAnswer) {
  for (const char* text :
       {"", "{", "7", "{}", R"({"id": "batch_req_7_00"})",
        R"({"id": "batch_req_7", "response": {"status_code": 200}})",
        R"({"id": "batch_req_x_00", "response": {"status_code": 200}})",
        R"({"id": "batch_req_0_00", "response": {"status_code": 200}})",
        R"({"id": "batch_req_7_", "response": {"status_code": 200}})",
        R"({"id": "batch_req_7_00z", "response": {"status_code": 200}})",
        R"({"id": "batch_req_7_00", "response": null})",
        R"({"id": "batch_req_99999999999999999999_00", "response": {"status_code": 200}})"}) {
    EXPECT_FALSE(read_answered_line(text)) << text;
  }
}

}  // namespace
}  // namespace longspan
