// What an exchange between ranks costs on this host: time, from the stream that asks to the stream
// that uses the result, beside what the host can do at best.
//
//   mpirun -np 2 exchange_bench
//
// Small messages are timed back to back, and after a millisecond of work on one rank, as in decode:
// then the other has been waiting, and how it waits decides.

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "comm/collective.h"
#include "comm/cpu/cpu_stream.h"
#include "comm/error.h"
#include "comm/machine.h"

namespace longspan::bench {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + std::ssize(values) / 2);
  return values[values.size() / 2];
}

void work_for(std::chrono::microseconds time) {
  const auto until = Clock::now() + time;
  while (Clock::now() < until) {
  }
}

class Ring {
 public:
  explicit Ring(Machine& machine)
      : machine_(machine),
        data_(machine.data()),
        next_((data_.rank() + 1) % data_.size()),
        previous_((data_.rank() + data_.size() - 1) % data_.size()) {}

  /// Median of one exchange with both neighbours, waited for on a second stream.
  double exchange(std::size_t bytes, int rounds) {
    std::vector<std::byte> out(bytes), in(bytes);
    std::vector<double> times;
    barrier(machine_.control());
    for (int round = 0; round < rounds; ++round) {
      const auto start = Clock::now();
      data_.exchange(transfer_, {{next_, out}}, {{previous_, in}});
      compute_.wait(transfer_.record());
      compute_.synchronize();
      times.push_back(microseconds_since(start));
    }
    return median(times);
  }

  /// Median of there and back between ranks 0 and 1, rank 0 having worked for `work` before.
  double round_trip(std::size_t bytes, std::chrono::microseconds work, int rounds) {
    std::vector<std::byte> buffer(bytes);
    std::vector<double> times;
    barrier(machine_.control());
    for (int round = 0; round < rounds && data_.rank() < 2; ++round) {
      const bool asks = data_.rank() == 0;
      if (asks) work_for(work);
      const auto start = Clock::now();
      if (asks) data_.exchange(transfer_, {{1, buffer}}, {});
      data_.exchange(transfer_, {}, {{asks ? 1 : 0, buffer}});
      if (!asks) data_.exchange(transfer_, {{0, buffer}}, {});
      compute_.wait(transfer_.record());
      compute_.synchronize();
      times.push_back(microseconds_since(start));
    }
    return times.empty() ? 0 : median(times);
  }

 private:
  Machine& machine_;
  Communicator& data_;
  int next_;
  int previous_;
  CpuStream transfer_{1};
  CpuStream compute_{1};
};

/// Yardstick of a small exchange: one stream's work waits for another's, within a process.
double hand_over(int rounds) {
  CpuStream first(1), second(1);
  std::vector<double> times;
  for (int round = 0; round < rounds; ++round) {
    const auto start = Clock::now();
    first.enqueue([] {});
    second.wait(first.record());
    second.enqueue([] {});
    second.synchronize();
    times.push_back(microseconds_since(start));
  }
  return median(times);
}

/// Yardstick of a large one: copying as much.
double copy(std::size_t bytes, int rounds) {
  std::vector<std::byte> from(bytes, std::byte{1}), to(bytes);
  std::vector<double> times;
  for (int round = 0; round < rounds; ++round) {
    const auto start = Clock::now();
    std::memcpy(to.data(), from.data(), bytes);
    times.push_back(microseconds_since(start));
    volatile std::byte used = to[bytes / 2];
    static_cast<void>(used);
  }
  return median(times);
}

void run(Machine& machine) {
  constexpr std::size_t kSmall = 1 << 10, kLarge = 8 << 20;
  Ring ring(machine);
  const double small = ring.exchange(kSmall, 2000);
  const double large = ring.exchange(kLarge, 40);
  const double prompt = machine.size() > 1 ? ring.round_trip(kSmall, {}, 1000) : 0;
  const double worked =
      machine.size() > 1 ? ring.round_trip(kSmall, std::chrono::milliseconds(1), 1000) : 0;
  barrier(machine.control());
  if (machine.rank() != 0) return;
  const double handed = hand_over(2000);
  const double copied = copy(kLarge, 40);
  fmt::print("{} ranks, {}; median, microseconds\n", machine.size(),
             machine.device().description());
  fmt::print("{:44} {:>9} {:>10} {:>7}  {}\n", "", "figure", "yardstick", "ratio", "which is");
  const auto line = [](const char* what, double figure, double yardstick, const char* which) {
    fmt::print("{:44} {:>9.1f} {:>10.1f} {:>7.2f}  {}\n", what, figure, yardstick,
               figure / yardstick, which);
  };
  line("1 KiB to the next rank, from the one before", small, handed, "stream to stream");
  line("8 MiB to the next rank, from the one before", large, copied, "one copy");
  if (machine.size() == 1) return;
  line("1 KiB there and back", prompt, 2 * handed, "stream to stream, twice");
  line("1 KiB there and back, after 1 ms of work", worked, 2 * handed, "stream to stream, twice");
}

}  // namespace
}  // namespace longspan::bench

int main() {
  try {
    const auto machine = longspan::Machine::open({.threads = 1});
    longspan::bench::run(*machine);
    return 0;
  } catch (const longspan::Error& error) {
    fmt::print(stderr, "exchange_bench: {}\n", error.what());
    longspan::leave_now(error.code());
  }
}
