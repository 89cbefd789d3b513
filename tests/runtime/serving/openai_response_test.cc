#include "runtime/serving/openai_response.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runtime/serving/api_error.h"
#include "tests/runtime/model/tiny_tokenizer.h"

namespace longspan {
namespace {

using nlohmann::ordered_json;

Scored scored(TokenId id, double logprob, std::vector<TokenScore> top = {}) {
  return {.chosen = {id, logprob}, .top = std::move(top)};
}

/// "aé" as three bytes, of which the last two are tokens that are no characters alone.
CompletionAnswer answer(Endpoint endpoint, bool logprobs) {
  return {.endpoint = endpoint,
          .id = "x-1",
          .created = 5,
          .model = "m",
          .fingerprint = "longspan-0",
          .logprobs = logprobs,
          .choices = {{.text = "aé",
                       .stopped = true,
                       .stop_id = 256,
                       .tokens = {scored('a', -0.5, {{'a', -0.5}, {'b', -1.5}}),
                                  scored(0xc3, -0.25), scored(0xa9, 0)}}},
          .prompt_tokens = 7,
          .cached_tokens = 6,
          .completion_tokens = 4};
}

class OpenaiResponseTest : public testing::Test {
 protected:
  Tokenizer tokenizer_ = test::tokenizer_of(test::tiny_tokenizer_writer());
};

TEST_F(OpenaiResponseTest, AChatAnswersWithAMessage) {
  const ordered_json expected = ordered_json::parse(R"({
      "id": "x-1", "object": "chat.completion", "created": 5, "model": "m",
      "choices": [{"index": 0, "message": {"role": "assistant", "content": "aé"},
                   "logprobs": null, "finish_reason": "stop", "stop_reason": 256}],
      "usage": {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11,
                "prompt_tokens_details": {"cached_tokens": 6}},
      "system_fingerprint": "longspan-0"})");
  EXPECT_EQ(completion_body(answer(Endpoint::kChatCompletions, false), tokenizer_).dump(),
            expected.dump());
}

TEST_F(OpenaiResponseTest, ACompletionAnswersWithTexts) {
  CompletionAnswer two = answer(Endpoint::kCompletions, false);
  two.choices.push_back({.text = "b", .stopped = false});
  two.choices.push_back({.text = "", .stopped = true, .stop_text = "END"});
  const ordered_json body = completion_body(two, tokenizer_);
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["choices"][0]["text"], "aé");
  EXPECT_EQ(
      body["choices"][1].dump(),
      R"({"index":1,"text":"b","logprobs":null,"finish_reason":"length","stop_reason":null})");
  EXPECT_EQ(body["choices"][2]["stop_reason"], "END");
  EXPECT_EQ(body["choices"][2]["finish_reason"], "stop");
}

TEST_F(OpenaiResponseTest, LogprobsOfAChatNameBytes) {
  const ordered_json content = completion_body(answer(Endpoint::kChatCompletions, true),
                                               tokenizer_)["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(content[0].dump(), R"({"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[)"
                               R"({"token":"a","logprob":-0.5,"bytes":[97]},)"
                               R"({"token":"b","logprob":-1.5,"bytes":[98]}]})");
  EXPECT_EQ(content[1]["bytes"][0], 0xc3);
  EXPECT_EQ(content[1]["token"], "\ufffd") << "half a character";
}

TEST_F(OpenaiResponseTest, LogprobsOfACompletionAreFourLists) {
  const ordered_json logprobs =
      completion_body(answer(Endpoint::kCompletions, true), tokenizer_)["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"].dump(), "[\"a\",\"\ufffd\",\"\ufffd\"]");
  EXPECT_EQ(logprobs["token_logprobs"].dump(), "[-0.5,-0.25,0.0]");
  EXPECT_EQ(logprobs["top_logprobs"].dump(), R"([{"a":-0.5,"b":-1.5},{},{}])");
  EXPECT_EQ(logprobs["text_offset"].dump(), "[0,1,2]") << "in characters";
}

TEST_F(OpenaiResponseTest, AnErrorHasSixKeys) {
  const ApiError error{.message = "no", .param = "n"};
  EXPECT_EQ(error_object(error, "req-1").dump(),
            R"({"message":"no","type":"invalid_request_error","param":"n","code":"invalid_value",)"
            R"("request_id":"req-1","retriable":false})");
  EXPECT_EQ(error_object({.message = "no"}, "")["param"], nullptr);
}

}  // namespace
}  // namespace longspan
