// What waiting costs: time in a small exchange, CPU in a long wait. Prints what it measured; the
// bounds are loose, for machines that do other things too.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <thread>
#include <vector>

#include "comm/collective.h"
#include "comm/cpu/cpu_device.h"
#include "tests/support/mpi_machine.h"

namespace longspan::test {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double sum_over_ranks(double value) {
  Communicator& control = machine().control();
  double sum = 0;
  for (const auto& bytes : gather(control, std::as_bytes(std::span(&value, 1)), 0)) {
    double other = 0;
    std::memcpy(&other, bytes.data(), sizeof(other));
    sum += other;
  }
  return sum;
}

/// Median microseconds of one ring exchange of `bytes`, enqueued and synchronised each time.
double ring_microseconds(std::size_t bytes, int rounds) {
  Communicator& data = machine().data();
  const int next = (data.rank() + 1) % data.size();
  const int previous = (data.rank() + data.size() - 1) % data.size();
  std::vector<std::byte> out(bytes);
  std::vector<std::byte> in(bytes);
  CpuStream transfer(1);
  CpuStream compute(1);
  std::vector<double> times;
  barrier(machine().control());
  for (int round = 0; round < rounds; ++round) {
    const auto begun = Clock::now();
    data.exchange(transfer, {{next, out}}, {{previous, in}});
    compute.wait(transfer.record());  // as a step does: the result is used on another stream
    compute.synchronize();
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begun).count());
  }
  std::ranges::nth_element(times, times.begin() + rounds / 2);
  return times[static_cast<std::size_t>(rounds / 2)];
}

TEST(MpiCostTest, ASmallExchangeTakesMicrosecondsAndALargeOneIsNotSleptThrough) {
  const double small = ring_microseconds(1024, 2000);
  const double medium = ring_microseconds(64 << 10, 500);
  const double large = ring_microseconds(8 << 20, 20);
  if (machine().rank() == 0) {
    std::printf(
        "ring of %d, each with compute and transfer stream: 1 KiB %.1f us, 64 KiB %.1f us, "
        "8 MiB %.0f us (%.2f GB/s per rank)\n",
        machine().size(), small, medium, large, (8 << 20) / large * 1e-3);
  }
  EXPECT_LT(small, 2'000);
  EXPECT_LT(large, 500'000);
}

TEST(MpiCostTest, RanksThatWaitForAPlanCostNextToNothing) {
  Communicator& control = machine().control();
  const auto wait_time = 3s;
  barrier(control);
  const double before = cpu_seconds();
  // Everybody, rank 0 too, waits lazily for a message that comes after `wait_time`.
  std::byte plan{1};
  std::jthread sender([&] {
    if (control.rank() != 0) return;
    std::this_thread::sleep_for(wait_time);
    std::vector<Send> sends;
    for (int peer = 0; peer < control.size(); ++peer) sends.push_back({peer, {&plan, 1}});
    control.transfer(std::move(sends), {}, Patience{20s});
  });
  std::byte received{0};
  control.transfer({}, {{0, {&received, 1}}}, Patience::forever());
  sender.join();
  const double used = sum_over_ranks(cpu_seconds() - before) * 10 /
                      std::chrono::duration<double>(wait_time).count();
  if (control.rank() == 0) {
    std::printf("%d ranks waiting for a plan: %.3f CPU-seconds per 10 s, all together\n",
                control.size(), used);
    EXPECT_LT(used, 0.5);
  }
}

TEST(MpiCostTest, ASessionWithNothingOutstandingSleeps) {
  barrier(machine().control());
  const double before = cpu_seconds();
  std::this_thread::sleep_for(1s);
  EXPECT_LT(cpu_seconds() - before, 0.01);
}

}  // namespace
}  // namespace longspan::test
