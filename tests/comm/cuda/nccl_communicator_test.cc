#include "comm/cuda/nccl_communicator.h"

#include "tests/comm/cuda/gpu_world.h"

namespace longspan::test {

MachineOptions machine_options() {
  return {.threads = 1,
          .backend = Backend::kCuda,
          .gpu_link = GpuLink::kNccl,
          .hang_timeout = std::chrono::seconds(20)};
}

namespace {

INSTANTIATE_TEST_SUITE_P(All, CommunicatorConformance, testing::Values(gpu_world("Nccl")),
                         world_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorLossConformance);

TEST(NcclTest, LinksTheGpusWhenAskedTo) {
  if (machine().size() == 1) return;
  EXPECT_NE(dynamic_cast<NcclCommunicator*>(&machine().data()), nullptr);
}

}  // namespace
}  // namespace longspan::test
