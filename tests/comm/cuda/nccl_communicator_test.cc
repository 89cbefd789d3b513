#include <gmock/gmock.h>

#include <algorithm>

#include "tests/comm/cuda/nccl_world.h"

namespace longspan::test {

MachineOptions machine_options() {
  return {.threads = 1, .backend = Backend::kCuda, .hang_timeout = std::chrono::seconds(20)};
}

namespace {

INSTANTIATE_TEST_SUITE_P(All, CommunicatorConformance, testing::Values(nccl_world()), world_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorLossConformance);

TEST(CudaMachineTest, EveryRankHasAGpuOfItsOwn) {
  EXPECT_EQ(machine().backend(), Backend::kCuda);
  EXPECT_GT(machine().device_memory_left().value_or(0), 0);
  EXPECT_THAT(machine().placement(), testing::HasSubstr("cuda "));
}

// The way of a ring: one exchange after another, on a stream beside that of the kernels.
TEST(NcclTest, ManyExchangesInARowArriveInOrder) {
  Communicator& comm = machine().data();
  Device& device = machine().device();
  const int next = (comm.rank() + 1) % comm.size();
  const int previous = (comm.rank() + comm.size() - 1) % comm.size();
  constexpr std::size_t kBytes = 1 << 20;
  constexpr int kRounds = 200;
  const Buffer out = device.allocate(kBytes), in = device.allocate(kBytes);
  const auto transfer = device.new_stream(), compute = device.new_stream();
  std::vector<std::byte> sent(kBytes), got(kBytes);
  for (int round = 0; round < kRounds; ++round) {
    std::ranges::fill(sent, static_cast<std::byte>(round + comm.rank()));
    device.copy(*compute, out.bytes(), sent);
    transfer->wait(compute->record());
    comm.exchange(*transfer, {{next, out.bytes()}}, {{previous, in.bytes()}});
    compute->wait(transfer->record());
    device.copy(*compute, got, in.bytes());
    compute->synchronize();
    const auto expected = static_cast<std::byte>(round + previous);
    EXPECT_EQ(std::ranges::count(got, expected), std::ssize(got)) << "round " << round;
  }
}

}  // namespace
}  // namespace longspan::test
