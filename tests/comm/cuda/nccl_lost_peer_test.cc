// A loss ends NCCL for this process, so these are all tests of one program. MPI goes on.
#include "comm/error.h"
#include "tests/comm/cuda/gpu_world.h"

namespace longspan::test {

MachineOptions machine_options() {
  return {.threads = 1,
          .backend = Backend::kCuda,
          .gpu_link = GpuLink::kNccl,
          .hang_timeout = std::chrono::milliseconds(300)};
}

namespace {

INSTANTIATE_TEST_SUITE_P(All, CommunicatorLossConformance,
                         testing::Values(losing_gpu_world("Nccl")), world_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorConformance);

}  // namespace
}  // namespace longspan::test
