#include "comm/throttled_communicator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "comm/cpu/cpu_stream.h"
#include "comm/cpu/thread_machine.h"
#include "comm/throttled_machine.h"
#include "tests/comm/communicator_conformance.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// 100 bytes take 20 ms, and 10 ms to come: 30 ms of which the tests ask 25, for clocks are rough.
constexpr LinkThrottle kSlow{.bytes_per_second = 5'000, .latency = 10ms};
constexpr auto kHundredBytes = 25ms;

TEST(LinkThrottleTest, RatesAndLatenciesAreParsed) {
  EXPECT_EQ(parse_link_throttle("25M")->bytes_per_second, 25e6);
  EXPECT_EQ(parse_link_throttle("25M")->latency, 0ns);
  EXPECT_EQ(parse_link_throttle("1.5G,50us")->bytes_per_second, 1.5e9);
  EXPECT_EQ(parse_link_throttle("1.5G,50us")->latency, 50us);
  EXPECT_EQ(parse_link_throttle("800K,1.5ms")->latency, 1500us);
  EXPECT_EQ(parse_link_throttle("1000,1s")->latency, 1s);
}

TEST(LinkThrottleTest, AnythingElseIsNothing) {
  for (const char* text : {"", "M", "0", "-1M", "25X", "25M,", "25M,1", "25M,-1ms", "25M,1ms,",
                           "25 M", "nan", "inf", "0.5", "25M,100s", ",1ms"}) {
    EXPECT_FALSE(parse_link_throttle(text)) << text;
  }
}

TEST(LinkThrottleTest, OccupancyIsBytesOverRate) {
  EXPECT_EQ(kSlow.occupancy(100), 20ms);
  EXPECT_EQ(kSlow.occupancy(0), 0ns);
}

TEST(ThrottledCommunicatorTest, AnExchangeTakesItsTimeInBothRanks) {
  test::run_ranks(2, [](Communicator& comm) {
    ThrottledCommunicator slow(comm, kSlow);
    CpuStream stream(1);
    std::vector<std::byte> out(100), in(100);
    const auto start = Clock::now();
    slow.exchange(stream, {{1 - comm.rank(), out}}, {{1 - comm.rank(), in}});
    stream.synchronize();
    EXPECT_GE(Clock::now() - start, kHundredBytes);
  });
}

// The one that only receives has waited long when the bytes leave; still they need their time.
TEST(ThrottledCommunicatorTest, AReceiverThatWaitsAlreadyGetsTheBytesLate) {
  std::atomic<Clock::time_point> sent;
  test::run_ranks(2, [&](Communicator& comm) {
    ThrottledCommunicator slow(comm, kSlow);
    CpuStream stream(1);
    std::vector<std::byte> bytes(100);
    if (comm.rank() == 0) {
      std::this_thread::sleep_for(60ms);
      sent = Clock::now();
      slow.exchange(stream, {{1, bytes}}, {});
      stream.synchronize();
      EXPECT_GE(Clock::now() - sent.load(), kHundredBytes);
    } else {
      slow.exchange(stream, {}, {{0, bytes}});
      stream.synchronize();
      EXPECT_GE(Clock::now() - sent.load(), kHundredBytes);
    }
  });
}

TEST(ThrottledCommunicatorTest, AReceiverThatComesLateWaitsToo) {
  test::run_ranks(2, [](Communicator& comm) {
    ThrottledCommunicator slow(comm, kSlow);
    CpuStream stream(1);
    std::vector<std::byte> bytes(100);
    for (const bool on_a_stream : {true, false}) {
      if (comm.rank() == 1) std::this_thread::sleep_for(60ms);
      const auto start = Clock::now();
      std::vector<Send> sends;
      std::vector<Receive> receives;
      if (comm.rank() == 0) sends.push_back({1, bytes});
      if (comm.rank() == 1) receives.push_back({0, bytes});
      if (on_a_stream) {
        slow.exchange(stream, sends, receives);
        stream.synchronize();
      } else {
        slow.transfer(sends, receives, {});
      }
      EXPECT_GE(Clock::now() - start, kHundredBytes) << on_a_stream;
    }
  });
}

TEST(ThrottledCommunicatorTest, MessagesToSeveralPeersShareTheRanksPort) {
  test::run_ranks(3, [](Communicator& comm) {
    ThrottledCommunicator slow(comm, kSlow);
    CpuStream first(1), second(1);
    std::vector<std::byte> out(100), in(100), other(100);
    const int next = (comm.rank() + 1) % 3, previous = (comm.rank() + 2) % 3;
    const auto start = Clock::now();
    slow.exchange(first, {{next, out}}, {{previous, in}});
    slow.exchange(second, {{previous, out}}, {{next, other}});
    first.synchronize();
    second.synchronize();
    EXPECT_GE(Clock::now() - start, 45ms);  // 2 x 20 ms + 10 ms
  });
}

// Rank 1 takes part only when rank 0 has come back from exchange().
TEST(ThrottledCommunicatorTest, TheCallerIsNotHeldUp) {
  std::atomic<bool> back = false;
  test::run_ranks(2, [&](Communicator& comm) {
    ThrottledCommunicator slow(comm, kSlow);
    CpuStream stream(1);
    std::vector<std::byte> out(100), in(100);
    if (comm.rank() == 1) back.wait(false);
    slow.exchange(stream, {{1 - comm.rank(), out}}, {{1 - comm.rank(), in}});
    back = true;
    back.notify_all();
    stream.synchronize();
  });
}

TEST(ThrottledCommunicatorTest, ATalkWithItselfTakesNoLink) {
  test::run_ranks(1, [](Communicator& comm) {
    ThrottledCommunicator slow(comm, {.bytes_per_second = 1e-3});  // hours
    const std::vector<std::byte> out(100, std::byte{7});
    std::vector<std::byte> in(100);
    slow.transfer({{0, out}}, {{0, in}}, {});
    EXPECT_EQ(in, out);
  });
}

TEST(ThrottledCommunicatorTest, ALinkNeedsARate) {
  test::run_ranks(1, [](Communicator& comm) {
    EXPECT_THROW(ThrottledCommunicator(comm, {}), std::logic_error);
  });
}

TEST(ThrottledMachineTest, OnlyTheDataLinksAreSlow) {
  const auto data = std::make_shared<ThreadWorld>(1), control = std::make_shared<ThreadWorld>(1);
  auto plain = std::make_unique<ThreadMachine>(data, control, 0, 3);
  Communicator* const control_of_plain = &plain->control();
  ThrottledMachine machine(std::move(plain), kSlow);
  EXPECT_NE(dynamic_cast<ThrottledCommunicator*>(&machine.data()), nullptr);
  EXPECT_EQ(&machine.control(), control_of_plain);
  EXPECT_EQ(machine.threads(), 3);
  EXPECT_EQ(machine.host_ranks(), std::vector{0});
}

}  // namespace
}  // namespace longspan

namespace longspan::test {
namespace {

/// Slow enough to sleep in every exchange, fast enough for the suite's large messages.
World throttled_threads(int ranks) {
  return {std::to_string(ranks) + "ThrottledThreads", [ranks](const auto& body) {
            run_ranks(ranks, [&](Communicator& comm) {
              ThrottledCommunicator throttled(
                  comm, {.bytes_per_second = 200e6, .latency = std::chrono::microseconds(300)});
              body(throttled);
            });
          }};
}

/// A lost peer fails a stream that sleeps before and after its exchanges like any other.
World impatient_throttled_threads(int ranks) {
  return {std::to_string(ranks) + "ThrottledThreads", [ranks](const auto& body) {
            run_ranks(
                ranks,
                [&](Communicator& comm) {
                  ThrottledCommunicator throttled(
                      comm, {.bytes_per_second = 1e6, .latency = std::chrono::microseconds(300)});
                  body(throttled);
                },
                std::chrono::milliseconds(300));
          }};
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorConformance,
                         testing::Values(throttled_threads(1), throttled_threads(2),
                                         throttled_threads(4)),
                         world_name);
INSTANTIATE_TEST_SUITE_P(All, CommunicatorLossConformance,
                         testing::Values(impatient_throttled_threads(2)), world_name);

}  // namespace
}  // namespace longspan::test
