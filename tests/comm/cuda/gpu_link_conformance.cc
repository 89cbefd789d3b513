// What every link between GPUs promises beside the conformance suite of communicators: it keeps in
// step with kernels on other streams, whatever the sizes.
#include <gmock/gmock.h>

#include <algorithm>
#include <vector>

#include "tests/support/mpi_machine.h"

namespace longspan::test {
namespace {

TEST(GpuLinkTest, EveryRankHasAGpu) {
  EXPECT_EQ(machine().backend(), Backend::kCuda);
  EXPECT_GT(machine().device_memory_left().value_or(0), 0);
  EXPECT_THAT(machine().placement(), testing::HasSubstr("cuda "));
}

int next() { return (machine().rank() + 1) % machine().size(); }
int previous() { return (machine().rank() + machine().size() - 1) % machine().size(); }

// The way of a ring: one exchange after another, on a stream beside that of the kernels. Sizes
// around those where a link changes how it sends.
TEST(GpuLinkTest, ManyExchangesInARowArriveInOrder) {
  Communicator& comm = machine().data();
  Device& device = machine().device();
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{8192}, (std::size_t{256} << 10) + 16,
                                  std::size_t{1} << 20, std::size_t{70} << 20}) {
    const int rounds = bytes > (1 << 20) ? 10 : 200;
    const Buffer out = device.allocate(bytes), in = device.allocate(bytes);
    const auto transfer = device.new_stream(), compute = device.new_stream();
    std::vector<std::byte> sent(bytes), got(bytes);
    for (int round = 0; round < rounds; ++round) {
      std::ranges::fill(sent, static_cast<std::byte>(round + comm.rank()));
      device.copy(*compute, out.bytes(), sent);
      transfer->wait(compute->record());
      comm.exchange(*transfer, {{next(), out.bytes()}}, {{previous(), in.bytes()}});
      compute->wait(transfer->record());
      device.copy(*compute, got, in.bytes());
      compute->synchronize();
      const auto expected = static_cast<std::byte>(round + previous());
      EXPECT_EQ(std::ranges::count(got, expected), std::ssize(got)) << "round " << round;
    }
  }
}

// More than a link has room for, enqueued before anything is waited for.
TEST(GpuLinkTest, ExchangesOfManySizesMayPileUp) {
  Communicator& comm = machine().data();
  Device& device = machine().device();
  const auto stream = device.new_stream();
  constexpr int kMessages = 300;
  const auto size = [](int i) {
    return static_cast<std::size_t>(i * i * i % 40'009 * (i % 9) + 1);
  };
  std::vector<Buffer> out, in;
  for (int i = 0; i < kMessages; ++i) {
    out.push_back(device.allocate(size(i)));
    in.push_back(device.allocate(size(i)));
    const std::vector<std::byte> sent(size(i), static_cast<std::byte>(i + comm.rank()));
    device.copy(*stream, out.back().bytes(), sent);
    stream->synchronize();
  }
  for (int i = 0; i < kMessages; i += 3) {
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (int j = i; j < i + 3; ++j) {
      sends.push_back({next(), out[static_cast<std::size_t>(j)].bytes()});
      receives.push_back({previous(), in[static_cast<std::size_t>(j)].bytes()});
    }
    comm.exchange(*stream, std::move(sends), std::move(receives));
  }
  stream->synchronize();
  for (int i = 0; i < kMessages; ++i) {
    std::vector<std::byte> got(size(i));
    device.copy(*stream, got, in[static_cast<std::size_t>(i)].bytes());
    stream->synchronize();
    EXPECT_EQ(std::ranges::count(got, static_cast<std::byte>(i + previous())), std::ssize(got))
        << "message " << i;
  }
}

}  // namespace
}  // namespace longspan::test
