// The communicators that tests of other folders lean on.

#include <gmock/gmock.h>

#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "tests/support/counting_communicator.h"
#include "tests/support/delaying_communicator.h"
#include "tests/support/run_ranks.h"

namespace longspan::test {
namespace {

TEST(CountingCommunicatorTest, ItCountsPerPeerAndLeavesOutEmptyMessages) {
  run_ranks(3, [](Communicator& comm) {
    CountingCommunicator counting(comm);
    CpuStream stream(1);
    const int next = (comm.rank() + 1) % 3;
    const int previous = (comm.rank() + 2) % 3;
    std::vector<std::byte> out(10);
    std::vector<std::byte> in(10);
    counting.exchange(stream, {{next, out}, {previous, {}}}, {{previous, in}});
    counting.exchange(stream, {{previous, {}}}, {});
    stream.synchronize();
    EXPECT_EQ(counting.with(next).sent_bytes, 10U);
    EXPECT_EQ(counting.with(next).sent_messages, 1U);
    EXPECT_EQ(counting.with(next).received_messages, 0U);
    EXPECT_EQ(counting.with(previous).received_bytes, 10U);
    EXPECT_EQ(counting.with(previous).sent_messages, 0U);
    EXPECT_EQ(counting.exchanges(), 1);
  });
}

TEST(CountingCommunicatorTest, AForbiddenPeerIsAnError) {
  run_ranks(2, [](Communicator& comm) {
    CountingCommunicator counting(comm);
    counting.forbid(1);
    std::vector<std::byte> bytes(1);
    EXPECT_THROW(counting.transfer({{1, bytes}}, {}, {}), std::logic_error);
    EXPECT_NO_THROW(counting.transfer({{1, {}}}, {}, {}));
  });
}

TEST(DelayingCommunicatorTest, DelayedExchangesStillKeepTheStreamsOrder) {
  run_ranks(2, [](Communicator& comm) {
    DelayingCommunicator delaying(comm, 1);
    CpuStream stream(1);
    const int peer = 1 - comm.rank();
    std::vector<int> in(1);
    std::vector<int> seen;
    for (int i = 0; i < 20; ++i) {
      auto out = std::make_shared<std::vector<int>>(1, i);
      delaying.exchange(stream, {{peer, std::as_bytes(std::span(*out))}},
                        {{peer, std::as_writable_bytes(std::span(in))}});
      as_cpu(stream).enqueue([&seen, &in, out] { seen.push_back(in[0]); });
    }
    stream.synchronize();
    EXPECT_THAT(seen, testing::SizeIs(20));
    EXPECT_TRUE(std::ranges::is_sorted(seen));
  });
}

TEST(RunMachinesTest, EveryRankHasAMachineOfOneSharedWorld) {
  run_machines(3, [](Machine& machine) {
    EXPECT_EQ(machine.size(), 3);
    EXPECT_EQ(machine.host_ranks(), (std::vector{0, 1, 2}));
    EXPECT_EQ(machine.control().rank(), machine.rank());
    EXPECT_EQ(machine.threads(), 1);
  });
}

}  // namespace
}  // namespace longspan::test
