// Requests for jobs of tests, and what a job gave back.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/runtime/engine/run_job.h"

namespace longspan::test {

struct Outcome {
  std::map<RequestId, std::vector<TokenId>> tokens;
  std::map<RequestId, std::vector<double>> logprobs;
  std::map<RequestId, double> nll;
  std::set<Strategy> strategies;  // that some chunk took
  int tokens_beside_prompts = 0;  // sampled by decode while a prompt was read
  std::vector<RankSummary> ranks;
};

/// Prompts of these lengths, of random tokens below 256.
std::vector<JobRequest> job_requests(const std::vector<std::int64_t>& lengths,
                                     std::int64_t max_new);

/// Fills all of `outcome` but its ranks.
Coordinator::Listener listener(Outcome& outcome);

/// The same tokens, log-probabilities within `tolerance` and nll within ten times that.
void expect_same(const Outcome& outcome, const Outcome& oracle, const std::string& what,
                 double tolerance = 1e-4);

}  // namespace longspan::test
