// From a request of a batch file to what the engine is to run: tokens, and how to go on from them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/answer_recorder.h"
#include "launch/batch/batch_terms.h"
#include "launch/chat_prompts.h"
#include "runtime/serving/openai_request.h"

namespace longspan {

class BatchRequests {
 public:
  /// Borrows both. `model`: as the command names it, for its chat template; one without is refused
  /// with each chat.
  BatchRequests(BatchTerms terms, const std::string& model, const Tokenizer& tokenizer);

  const BatchTerms& terms() const { return terms_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }

  /// One for each answer: prompts in order, each with its n. `seed`: if the request draws and names
  /// none. `room`: tokens of one request that memory holds, the context at most. Throws ApiRefusal.
  std::vector<RecordedRequest> answers(const CompletionRequest& request, std::int64_t seed,
                                       std::int64_t room) const;

 private:
  void expect_model(const CompletionRequest& request) const;
  std::vector<std::vector<TokenId>> prompts(const CompletionRequest& request) const;
  std::vector<TokenId> chat_prompt(const CompletionRequest& request) const;
  std::int64_t max_new(const CompletionRequest& request, std::int64_t prompt,
                       std::int64_t room) const;

  BatchTerms terms_;
  const Tokenizer& tokenizer_;
  std::optional<ChatWording> wording_;
  std::string no_wording_;  // why there is none
};

/// A seed for one line of many, from the seed of all.
std::int64_t seed_of_line(std::int64_t seed, std::int64_t number);

}  // namespace longspan
