#include "comm/cpu/cpu_device.h"

#include <gmock/gmock.h>
#include <omp.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <future>
#include <thread>

#include "comm/error.h"
#include "tests/comm/cpu/cpu_backend.h"

namespace longspan {
namespace {

using namespace std::chrono_literals;

class CpuDeviceTest : public testing::Test {
 protected:
  CpuDevice device_{1};
};

TEST_F(CpuDeviceTest, WorkRunsInOrderAndNotOnTheCallersThread) {
  CpuStream stream(1);
  std::vector<int> order;
  std::thread::id worker;
  for (int i = 0; i < 100; ++i) stream.enqueue([&, i] { order.push_back(i); });
  stream.enqueue([&] { worker = std::this_thread::get_id(); });
  stream.synchronize();
  EXPECT_THAT(order, testing::SizeIs(100));
  EXPECT_TRUE(std::ranges::is_sorted(order));
  EXPECT_NE(worker, std::this_thread::get_id());
}

TEST_F(CpuDeviceTest, EnqueueAndWaitDoNotBlockTheCaller) {
  std::promise<void> open;
  CpuStream blocked(1);
  CpuStream waiting(1);
  bool ran = false;
  blocked.enqueue([&] { open.get_future().wait(); });
  waiting.wait(blocked.record());
  waiting.enqueue([&] { ran = true; });
  open.set_value();  // reached only if nothing above blocked
  waiting.synchronize();
  EXPECT_TRUE(ran);
}

TEST_F(CpuDeviceTest, AFailedStreamSkipsItsRemainingWorkAndSynchronizeThrowsTheFirstFailure) {
  CpuStream stream(1);
  bool ran = false;
  stream.enqueue([] { throw CommError("the first"); });
  stream.enqueue([] { throw CommError("the second"); });
  stream.enqueue([&] { ran = true; });
  for (int again = 0; again < 2; ++again) {
    try {
      stream.synchronize();
      ADD_FAILURE() << "a failed stream synchronized";
    } catch (const CommError& error) {
      EXPECT_STREQ(error.what(), "the first");
    }
  }
  EXPECT_FALSE(ran);
}

TEST_F(CpuDeviceTest, AFailureTravelsWithEventsThroughSeveralStreams) {
  CpuStream first(1);
  CpuStream second(1);
  CpuStream third(1);
  bool ran = false;
  first.enqueue([] {
    std::this_thread::sleep_for(5ms);
    throw CommError("lost rank 3");
  });
  second.wait(first.record());
  third.wait(second.record());
  third.enqueue([&] { ran = true; });
  EXPECT_THROW(third.synchronize(), CommError);
  EXPECT_FALSE(ran);
}

// Nobody needs a thread for these; a chain long enough to fill a stack must not.
TEST_F(CpuDeviceTest, ALongChainOfBareEventsBetweenTwoStreamsResolves) {
  std::promise<void> open;
  CpuStream first(1);
  CpuStream second(1);
  first.enqueue([&] { open.get_future().wait(); });
  for (int i = 0; i < 100'000; ++i) {
    second.wait(first.record());
    first.wait(second.record());
  }
  open.set_value();
  first.synchronize();
  second.synchronize();
}

TEST_F(CpuDeviceTest, AnAsynchronousStartHoldsTheStreamUntilItIsDone) {
  CpuStream stream(1);
  CpuStream::Done finish;
  bool ran = false;
  stream.enqueue_async([&](CpuStream::Done done) { finish = std::move(done); });
  stream.enqueue([&] { ran = true; });
  std::this_thread::sleep_for(5ms);
  EXPECT_FALSE(ran);
  std::jthread([&] { finish(nullptr); }).join();
  stream.synchronize();
  EXPECT_TRUE(ran);

  stream.enqueue_async([](CpuStream::Done done) {  // done before the start has returned
    done(std::make_exception_ptr(CommError("at once")));
  });
  bool started = false;
  stream.enqueue_async([&](CpuStream::Done) { started = true; });
  EXPECT_THROW(stream.synchronize(), CommError);
  EXPECT_FALSE(started);
}

TEST_F(CpuDeviceTest, StreamsThatWaitForEachOthersEventsFromManyThreadsLoseNothing) {
  std::vector<std::jthread> hosts;
  for (int host = 0; host < 4; ++host) {
    hosts.emplace_back([] {
      for (int round = 0; round < 50; ++round) {
        CpuStream left(1);
        CpuStream right(1);
        int count = 0;  // handed to and fro: a lost wait is a race
        for (int i = 0; i < 20; ++i) {
          left.enqueue([&] { ++count; });
          right.wait(left.record());
          right.enqueue([&] { ++count; });
          left.wait(right.record());
        }
        left.synchronize();
        EXPECT_EQ(count, 40);
      }
    });
  }
}

TEST_F(CpuDeviceTest, AFailureFromTheDistantPastStillTravels) {
  CpuStream first(1);
  CpuStream second(1);
  first.enqueue([] { throw CommError("lost rank 3"); });
  EXPECT_THROW(first.synchronize(), CommError);
  second.wait(first.record());  // recorded on an idle stream, long after the failure
  EXPECT_THROW(second.synchronize(), CommError);
}

TEST_F(CpuDeviceTest, AnEventOutlivesItsStream) {
  Event event;
  {
    CpuStream stream(1);
    stream.enqueue([] { std::this_thread::sleep_for(5ms); });
    event = stream.record();
  }
  CpuStream other(1);
  other.wait(event);
  EXPECT_NO_THROW(other.synchronize());
}

TEST_F(CpuDeviceTest, TheDestructorDrainsAndSwallowsTheFailure) {
  int ran = 0;
  {
    CpuStream stream(1);
    for (int i = 0; i < 10; ++i) stream.enqueue([&] { ++ran; });
    stream.enqueue([] { throw CommError("nobody looks"); });
  }
  EXPECT_EQ(ran, 10);
}

TEST_F(CpuDeviceTest, WhatWorkHoldsIsGoneWhenAnEventBehindItHappens) {
  CpuStream stream(1);
  auto held = std::make_shared<int>(7);
  const std::weak_ptr<int> watch = held;
  stream.enqueue([held = std::move(held)] {});
  stream.synchronize();
  EXPECT_TRUE(watch.expired());
}

TEST_F(CpuDeviceTest, AnIdleStreamBurnsNoCpu) {
  CpuStream stream(1);
  stream.synchronize();
  const auto cpu_seconds = [] {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  const double before = cpu_seconds();
  std::this_thread::sleep_for(300ms);
  EXPECT_LT(cpu_seconds() - before, 0.01);
}

TEST_F(CpuDeviceTest, ParallelRegionsInAStreamsWorkUseItsThreads) {
  CpuStream two(2);
  CpuStream three(3);
  int of_two = 0;
  int of_three = 0;
  two.enqueue([&] { of_two = omp_get_max_threads(); });
  three.enqueue([&] { of_three = omp_get_max_threads(); });
  two.synchronize();
  three.synchronize();
  EXPECT_EQ(of_two, 2);
  EXPECT_EQ(of_three, 3);
}

// Resident memory of this process, in bytes.
std::size_t resident() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0;
  std::size_t pages = 0;
  statm >> total >> pages;
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

TEST_F(CpuDeviceTest, MemoryCostsNothingUntilItIsTouched) {
  const std::size_t before = resident();
  const Buffer buffer = device_.allocate(std::size_t{256} << 20);
  EXPECT_LT(resident() - before, std::size_t{64} << 20);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.bytes().data()) % (2 << 20), 0U);
}

TEST_F(CpuDeviceTest, AsCpuRefusesAForeignStream) {
  class Foreign final : public Stream {
    Event record() override { return {}; }
    void wait(const Event&) override {}
    void call(std::function<void()>) override {}
    void synchronize() override {}
  } foreign;
  EXPECT_THROW(as_cpu(foreign), std::logic_error);
}

TEST_F(CpuDeviceTest, MoreMemoryThanTheHostHasIsRefusedWithNumbers) {
  try {
    device_.allocate(std::size_t{1} << 60);
    ADD_FAILURE() << "an exbibyte was allocated";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("1152921504606846976 bytes"));
    EXPECT_THAT(error.what(), testing::HasSubstr("GiB in all"));
  }
}

TEST_F(CpuDeviceTest, TheDescriptionNamesTheModelAndTheThreads) {
  EXPECT_THAT(CpuDevice(2).description(), testing::MatchesRegex("cpu .+, 2 threads"));
  EXPECT_THAT(device_.description(), testing::EndsWith(", 1 thread"));
}

}  // namespace

namespace test {
INSTANTIATE_TEST_SUITE_P(Cpu, DeviceConformance, testing::Values(cpu_backend()));
}  // namespace test

}  // namespace longspan
