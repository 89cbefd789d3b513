#include <string>

#include "tests/comm/communicator_conformance.h"
#include "tests/support/delaying_communicator.h"
#include "tests/support/run_ranks.h"

namespace longspan::test {
namespace {

World threads(int ranks) {
  return {std::to_string(ranks) + "Threads", [ranks](const auto& body) { run_ranks(ranks, body); }};
}

World delayed_threads(int ranks) {
  return {std::to_string(ranks) + "DelayedThreads", [ranks](const auto& body) {
            run_ranks(ranks, [&](Communicator& comm) {
              DelayingCommunicator delaying(comm, 7);
              body(delaying);
            });
          }};
}

World impatient_threads(int ranks) {
  return {std::to_string(ranks) + "Threads",
          [ranks](const auto& body) { run_ranks(ranks, body, std::chrono::milliseconds(300)); }};
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorConformance,
                         testing::Values(threads(1), threads(2), threads(3), threads(4), threads(5),
                                         delayed_threads(3)),
                         world_name);
INSTANTIATE_TEST_SUITE_P(All, CommunicatorLossConformance,
                         testing::Values(impatient_threads(1), impatient_threads(2),
                                         impatient_threads(5)),
                         world_name);

}  // namespace
}  // namespace longspan::test
