#include "comm/cuda/peer_communicator.h"

#include "tests/comm/cuda/gpu_world.h"

namespace longspan::test {

MachineOptions machine_options() {
  return {.threads = 1,
          .backend = Backend::kCuda,
          .gpu_link = GpuLink::kPeer,
          .hang_timeout = std::chrono::seconds(20)};
}

namespace {

INSTANTIATE_TEST_SUITE_P(All, CommunicatorConformance, testing::Values(gpu_world("Peer")),
                         world_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorLossConformance);

TEST(PeerTest, LinksTheGpusAndNotNccl) {
  if (machine().size() == 1) return;
  EXPECT_NE(dynamic_cast<PeerCommunicator*>(&machine().data()), nullptr);
}

}  // namespace
}  // namespace longspan::test
