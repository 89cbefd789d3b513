// A loss ends NCCL for this process, so these are all tests of one program. MPI goes on.
#include <gmock/gmock.h>

#include "comm/error.h"
#include "tests/comm/cuda/nccl_world.h"

namespace longspan::test {

MachineOptions machine_options() {
  return {.threads = 1, .backend = Backend::kCuda, .hang_timeout = std::chrono::milliseconds(300)};
}

namespace {

World losing_world() {
  World world = nccl_world();
  world.run = [](const auto& body) {
    Communicator& comm = machine().data();
    if (comm.size() == 1) return;
    body(comm);
    const Buffer in = machine().device().allocate(4);
    EXPECT_THROW(
        comm.transfer({}, {{(comm.rank() + 1) % comm.size(), in.bytes()}}, Patience::forever()),
        CommError);
  };
  return world;
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorLossConformance, testing::Values(losing_world()),
                         world_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorConformance);

}  // namespace
}  // namespace longspan::test
