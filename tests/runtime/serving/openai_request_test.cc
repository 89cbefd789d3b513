#include "runtime/serving/openai_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "runtime/serving/api_error.h"

namespace longspan {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kVocabulary = 300;

CompletionRequest read(Endpoint endpoint, const std::string& body) {
  return read_completion_request(endpoint, json::parse(body), kVocabulary);
}

/// A chat whose one message is "Hi", with these fields besides.
CompletionRequest chat(const std::string& fields) {
  return read(Endpoint::kChatCompletions, R"({"messages": [{"role": "user", "content": "Hi"}])" +
                                              (fields.empty() ? "" : ", " + fields) + "}");
}

CompletionRequest text(const std::string& fields) {
  return read(Endpoint::kCompletions, "{" + fields + "}");
}

template <typename Read>
ApiError refusal(const Read& reads) {
  try {
    reads();
  } catch (const ApiRefusal& refused) {
    return refused.error();
  }
  return {.code = "(accepted)"};
}

ApiError chat_refusal(const std::string& fields) {
  return refusal([&] { chat(fields); });
}

ApiError text_refusal(const std::string& fields) {
  return refusal([&] { text(fields); });
}

TEST(OpenaiRequestTest, WhatIsNotGivenIsAbsent) {
  const CompletionRequest request = chat("");
  ASSERT_EQ(request.messages.size(), 1u);
  EXPECT_EQ(request.messages[0].role, "user");
  EXPECT_EQ(request.messages[0].content, "Hi");
  EXPECT_EQ(request.model, std::nullopt);
  EXPECT_EQ(request.max_tokens, std::nullopt);
  EXPECT_EQ(request.n, 1);
  EXPECT_FALSE(request.logprobs);
  EXPECT_FALSE(request.stream);
  EXPECT_EQ(request.sampling.temperature, std::nullopt);
  EXPECT_EQ(request.sampling.stop_texts, std::nullopt);
  EXPECT_TRUE(request.unknown.empty());
}

TEST(OpenaiRequestTest, NullIsNotGivenEither) {
  const CompletionRequest request = chat(
      R"("model": null, "max_tokens": null, "temperature": null, "stop": null, "tools": null,
         "logprobs": null, "n": null, "stream": null, "logit_bias": null, "seed": null)");
  EXPECT_EQ(request.model, std::nullopt);
  EXPECT_EQ(request.max_tokens, std::nullopt);
  EXPECT_EQ(request.sampling.seed, std::nullopt);
  EXPECT_EQ(request.n, 1);
  EXPECT_TRUE(request.unknown.empty());
}

TEST(OpenaiRequestTest, EveryFieldArrives) {
  const CompletionRequest request = chat(
      R"("model": "m", "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.25, "top_k": 300,
         "min_p": 1, "repetition_penalty": 1.5, "presence_penalty": -2, "frequency_penalty": 2,
         "seed": -9223372036854775808, "n": 16, "stop": ["a", "b"], "stop_token_ids": [0, 299],
         "min_tokens": 3, "ignore_eos": true, "logit_bias": {"5": -100}, "logprobs": true,
         "top_logprobs": 20, "stream": true, "cache_salt": "mine", "user": "me")");
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.n, 16);
  EXPECT_EQ(request.choices(), 16u);
  EXPECT_TRUE(request.logprobs);
  EXPECT_EQ(request.top_logprobs, 20);
  EXPECT_TRUE(request.stream);
  EXPECT_EQ(request.cache_salt, "mine");
  EXPECT_EQ(request.user, "me");
  const RequestedSampling& sampling = request.sampling;
  EXPECT_EQ(sampling.temperature, 0.5);
  EXPECT_EQ(sampling.top_p, 0.25);
  EXPECT_EQ(sampling.top_k, 300);
  EXPECT_EQ(sampling.min_p, 1);
  EXPECT_EQ(sampling.repetition_penalty, 1.5);
  EXPECT_EQ(sampling.presence_penalty, -2);
  EXPECT_EQ(sampling.frequency_penalty, 2);
  EXPECT_EQ(sampling.seed, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(sampling.min_tokens, 3);
  EXPECT_EQ(sampling.ignore_eos, true);
  EXPECT_THAT(sampling.stop_texts.value(), ElementsAre("a", "b"));
  EXPECT_THAT(sampling.stop_ids.value(), ElementsAre(0, 299));
  ASSERT_EQ(sampling.bias.value().size(), 1u);
  EXPECT_EQ((*sampling.bias)[0].id, 5);
  EXPECT_EQ((*sampling.bias)[0].bias, -100);
}

TEST(OpenaiRequestTest, APromptIsTextOrIdsOrSeveralOfEither) {
  EXPECT_EQ(text(R"("prompt": "Hi")").prompts.at(0).text, "Hi");
  EXPECT_THAT(text(R"("prompt": [0, 299])").prompts.at(0).ids.value(), ElementsAre(0, 299));
  const auto texts = text(R"("prompt": ["a", "b"], "n": 2)");
  EXPECT_EQ(texts.prompts.size(), 2u);
  EXPECT_EQ(texts.prompts[1].text, "b");
  EXPECT_EQ(texts.choices(), 4u);
  const auto lists = text(R"("prompt": [[1], [2, 3]])").prompts;
  EXPECT_THAT(lists.at(1).ids.value(), ElementsAre(2, 3));
}

TEST(OpenaiRequestTest, APromptThatIsNoneIsRefused) {
  for (const char* prompt :
       {"\"\"", "[]", "[\"\"]", "[[]]", "[\"a\", \"\"]", "[[1], []]", "7", "{}", "true",
        "[1, \"a\"]", "[\"a\", 1]", "[300]", "[-1]", "[1.5]", "[[1, 300]]", "null", "[null]"}) {
    const ApiError error = text_refusal(std::string(R"("prompt": )") + prompt);
    EXPECT_EQ(error.code, "invalid_value") << prompt;
    EXPECT_THAT(error.param, testing::StartsWith("prompt")) << prompt;
  }
  EXPECT_EQ(text_refusal("").param, "prompt");
  EXPECT_EQ(text_refusal(R"("prompt": [1, 300])").param, "prompt[1]");
}

TEST(OpenaiRequestTest, TextPartsOfAMessageAreOneText) {
  const auto request = read(Endpoint::kChatCompletions, R"({"messages": [
      {"role": "system", "content": "Be brief.", "name": null},
      {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
  ]})");
  EXPECT_EQ(request.messages.at(0).content, "Be brief.");
  EXPECT_EQ(request.messages.at(1).content, "ab");
}

TEST(OpenaiRequestTest, MessagesThatAreNoneAreRefusedByPlace) {
  const auto param = [](const std::string& messages) {
    return refusal([&] { read(Endpoint::kChatCompletions, R"({"messages": )" + messages + "}"); })
        .param;
  };
  EXPECT_EQ(param("[]"), "messages");
  EXPECT_EQ(param("\"Hi\""), "messages");
  EXPECT_EQ(param("null"), "messages");
  EXPECT_EQ(param("[7]"), "messages[0]");
  EXPECT_EQ(param(R"([{"content": "Hi"}])"), "messages[0].role");
  EXPECT_EQ(param(R"([{"role": "user"}])"), "messages[0].content");
  EXPECT_EQ(param(R"([{"role": "user", "content": 7}])"), "messages[0].content");
  EXPECT_EQ(param(R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
            "messages[0].content[0].type");
  EXPECT_EQ(param(R"([{"role": "user", "content": [{"type": "text"}]}])"),
            "messages[0].content[0].text");
  EXPECT_EQ(param(R"([{"role": "assistant", "content": "", "tool_calls": [{}]}])"),
            "messages[0].tool_calls");
}

TEST(OpenaiRequestTest, ANumberOutOfRangeIsRefusedWithTheRange) {
  const std::pair<const char*, const char*> cases[] = {{"temperature", "2.001"},
                                                       {"temperature", "-0.1"},
                                                       {"temperature", "\"hot\""},
                                                       {"top_p", "0"},
                                                       {"top_p", "1.01"},
                                                       {"top_k", "-2"},
                                                       {"top_k", "301"},
                                                       {"top_k", "1.5"},
                                                       {"min_p", "-1"},
                                                       {"n", "0"},
                                                       {"n", "17"},
                                                       {"cache_salt", "7"},
                                                       {"user", "7"},
                                                       {"max_tokens", "0"},
                                                       {"max_tokens", "-1"},
                                                       {"max_completion_tokens", "0"},
                                                       {"presence_penalty", "2.5"},
                                                       {"frequency_penalty", "3"},
                                                       {"repetition_penalty", "0"},
                                                       {"seed", "9223372036854775808"},
                                                       {"seed", "0.5"},
                                                       {"min_tokens", "-1"},
                                                       {"logprobs", "3"},
                                                       {"ignore_eos", "1"},
                                                       {"stream", "\"no\""}};
  for (const auto& [field, value] : cases) {
    const ApiError error = chat_refusal(std::string("\"") + field + "\": " + value);
    EXPECT_EQ(error.status, 400) << field;
    EXPECT_EQ(error.code, "invalid_value") << field << value;
    EXPECT_EQ(error.param, field);
    EXPECT_THAT(error.message, HasSubstr(field));
  }
  EXPECT_THAT(chat_refusal(R"("temperature": 3)").message, HasSubstr("from 0 to 2, not 3"));
  EXPECT_EQ(text_refusal(R"("prompt": "a", "logprobs": 21)").param, "logprobs");
}

TEST(OpenaiRequestTest, StopsAreBounded) {
  EXPECT_THAT(chat(R"("stop": "END")").sampling.stop_texts.value(), ElementsAre("END"));
  EXPECT_TRUE(chat(R"("stop": [])").sampling.stop_texts.value().empty());
  for (const std::string& stop :
       {std::string("\"\""), std::string("[\"a\", \"\"]"), std::string("7"),
        json(std::vector<std::string>(17, "a")).dump(), json(std::string(257, 'a')).dump()}) {
    EXPECT_EQ(chat_refusal("\"stop\": " + stop).param, "stop") << stop;
  }
  EXPECT_EQ(chat_refusal(R"("stop_token_ids": [300])").param, "stop_token_ids[0]");
  EXPECT_EQ(chat_refusal(R"("logit_bias": {"300": 1})").param, "logit_bias");
  EXPECT_EQ(chat_refusal(R"("logit_bias": {"x": 1})").param, "logit_bias");
  EXPECT_EQ(chat_refusal(R"("logit_bias": {"1": 101})").param, "logit_bias");
}

TEST(OpenaiRequestTest, TheTwoNamesOfTheLimitMayNotDisagree) {
  EXPECT_EQ(chat(R"("max_tokens": 5, "max_completion_tokens": 5)").max_tokens, 5);
  EXPECT_THAT(chat_refusal(R"("max_tokens": 5, "max_completion_tokens": 6)").message,
              HasSubstr("give one"));
}

TEST(OpenaiRequestTest, WhatIsNotDoneIsRefusedUnlessItChangesNothing) {
  EXPECT_TRUE(chat(R"("tools": [], "response_format": {"type": "text"}, "best_of": 1, "echo": false,
                      "skip_special_tokens": false, "user": "me", "metadata": {"a": "b"})")
                  .unknown.empty());
  for (const char* field : {R"("tools": [{}])", R"("response_format": {"type": "json_object"})",
                            R"("best_of": 2)", R"("lora_request": {})", R"("guided_json": {})",
                            R"("echo": true)", R"("audio": {})", R"("chat_template": "x")",
                            R"("truncate_prompt_tokens": 5)", R"("add_special_tokens": true)"}) {
    EXPECT_EQ(chat_refusal(field).code, "unsupported_parameter") << field;
  }
}

TEST(OpenaiRequestTest, WhatNobodyKnowsIsListed) {
  EXPECT_THAT(chat(R"("zebra": 1, "temperature": 0, "ant": null)").unknown,
              ElementsAre("ant", "zebra"));
}

TEST(OpenaiRequestTest, AlternativesNeedTheSwitch) {
  EXPECT_EQ(chat_refusal(R"("top_logprobs": 2)").param, "top_logprobs");
  const CompletionRequest request = text(R"("prompt": "a", "logprobs": 0)");
  EXPECT_TRUE(request.logprobs);
  EXPECT_EQ(request.top_logprobs, 0);
}

TEST(OpenaiRequestTest, ChoicesAreBounded) {
  const std::string prompts = json(std::vector<std::string>(129, "a")).dump();
  EXPECT_EQ(text_refusal("\"n\": 16, \"prompt\": " + prompts).param, "n");
  EXPECT_EQ(text("\"n\": 15, \"prompt\": " + prompts).choices(), 1935u);
}

TEST(OpenaiRequestTest, OnlyTwoPathsLeadSomewhere) {
  EXPECT_EQ(endpoint_of("/v1/completions"), Endpoint::kCompletions);
  EXPECT_EQ(endpoint_of("/v1/chat/completions"), Endpoint::kChatCompletions);
  const ApiError error = refusal([] { endpoint_of("/v1/embeddings"); });
  EXPECT_EQ(error.status, 404);
  EXPECT_THAT(error.message, HasSubstr("embeddings"));
  EXPECT_EQ(refusal([] { endpoint_of("/v1/completions/"); }).code, "not_found");
}

}  // namespace
}  // namespace longspan
