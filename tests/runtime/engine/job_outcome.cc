#include "tests/runtime/engine/job_outcome.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace longspan::test {

std::vector<JobRequest> job_requests(const std::vector<std::int64_t>& lengths,
                                     std::int64_t max_new) {
  std::mt19937 random(9);
  std::vector<JobRequest> list;
  for (std::int64_t length : lengths) {
    JobRequest request{.max_new = max_new, .wants_nll = true};
    request.admission.request = std::ssize(list);
    request.admission.top = 3;
    for (std::int64_t i = 0; i < length; ++i) {
      request.admission.prompt.push_back(static_cast<TokenId>(random() % 256));
    }
    list.push_back(request);
  }
  return list;
}

Coordinator::Listener listener(Outcome& outcome) {
  const auto reads = std::make_shared<bool>(false);  // the prompt of the last chunk goes on
  return {.prefill =
              [&outcome, reads](const Progress& chunk) {
                outcome.strategies.insert(chunk.choice->plan.strategy);
                *reads = chunk.prompt_done + chunk.prompt_chunk < chunk.prompt_total;
              },
          .layer = nullptr,
          .token =
              [&outcome, reads](RequestId id, const Scored& scored) {
                outcome.tokens_beside_prompts += *reads && !outcome.tokens[id].empty();
                outcome.tokens[id].push_back(scored.chosen.id);
                outcome.logprobs[id].push_back(scored.chosen.logprob);
              },
          .nll = [&outcome](RequestId id, double sum) { outcome.nll[id] += sum; }};
}

void expect_same(const Outcome& outcome, const Outcome& oracle, const std::string& what,
                 double tolerance) {
  ASSERT_EQ(outcome.tokens, oracle.tokens) << what;
  for (const auto& [id, logprobs] : oracle.logprobs) {
    ASSERT_EQ(outcome.logprobs.at(id).size(), logprobs.size()) << what;
    for (std::size_t i = 0; i < logprobs.size(); ++i) {
      EXPECT_NEAR(outcome.logprobs.at(id)[i], logprobs[i], tolerance) << what;
    }
    EXPECT_NEAR(outcome.nll.at(id), oracle.nll.at(id), 10 * tolerance) << what;
  }
}

}  // namespace longspan::test
