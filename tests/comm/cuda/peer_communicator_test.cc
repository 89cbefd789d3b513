#include "comm/cuda/peer_communicator.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "comm/cuda/cuda_device.h"
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

TEST(PeerTest, MessagesArriveWhileAKernelHasTheWholeGpu) {
  if (machine().size() == 1 || cuda_device_count() < machine().size()) return;
  EXPECT_TRUE(machine().data().moves_beside_kernels());
}

/// Their mappings come and go: there are more of them than are kept, an address comes again, and
/// small allocations share what CUDA maps.
TEST(PeerTest, MessagesLandInMemoryThatComesAndGoes) {
  const int size = machine().size(), rank = machine().rank();
  if (size == 1) return;
  Device& device = machine().device();
  const auto stream = device.new_stream();
  constexpr std::size_t kKib = 1024, kSizes[] = {300 * kKib, 3072 * kKib, 700 * kKib};
  for (int round = 0; round < 90; ++round) {
    const std::size_t bytes = kSizes[round % std::size(kSizes)];
    const Buffer out = device.allocate(bytes), in = device.allocate(bytes + 4096);
    const std::vector<std::byte> sent(bytes, static_cast<std::byte>(size * round + rank));
    device.copy(*stream, out.bytes(), sent);
    stream->synchronize();
    machine().data().exchange(*stream, {{(rank + 1) % size, out.bytes()}},
                              {{(rank + size - 1) % size, in.bytes().subspan(4096)}});
    std::vector<std::byte> got(bytes);
    device.copy(*stream, got, in.bytes().subspan(4096));
    stream->synchronize();
    const auto expected = static_cast<std::byte>(size * round + (rank + size - 1) % size);
    ASSERT_EQ(std::ranges::count(got, expected), std::ssize(got)) << "round " << round;
  }
}

}  // namespace
}  // namespace longspan::test
