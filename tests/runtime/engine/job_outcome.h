// Requests for jobs of tests, and what a job gave back.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "attention/kv_type.h"
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

/// How far log-probabilities of ranks that share a sequence may be from those of one rank. Another
/// order of sums changes a key's last bits, which kernels of each CPU order in their own way: one
/// between two rounded values may become the other one, and if it is the largest of an int8 page's
/// head, their scale follows.
constexpr double split_tolerance(KvType type) {
  switch (type) {
    case KvType::kFloat32:
    case KvType::kFloat16:
      return 1e-4;
    case KvType::kBFloat16:
      return 1e-3;
    case KvType::kInt8:
      return 5e-3;
  }
  return 0;
}

/// The same tokens, log-probabilities within `tolerance` and nll within ten times that.
void expect_same(const Outcome& outcome, const Outcome& oracle, const std::string& what,
                 double tolerance = 1e-4);

}  // namespace longspan::test
