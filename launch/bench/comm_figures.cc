#include "launch/bench/comm_figures.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>
#include <span>

#include "comm/agreement.h"
#include "comm/collective.h"
#include "comm/group.h"
#include "launch/bench/bench_machine.h"
#include "launch/bench/memory_yardsticks.h"
#include "launch/bench/rank_clock.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kSmall = 1 << 10;
/// Messages take turns in so many buffers: what a step sends is in no cache from last time.
constexpr std::size_t kTurns = 4;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void work_for(std::chrono::microseconds time) {
  const auto until = Clock::now() + time;
  while (Clock::now() < until) {
  }
}

/// The memory and the streams of one rank that takes part.
class RingMember {
 public:
  static std::int64_t memory_bytes(std::int64_t most_bytes) { return 2 * kTurns * most_bytes; }

  RingMember(Machine& machine, const Group& group, std::size_t most_bytes)
      : group_(group),
        device_(machine.device()),
        on_gpu_(machine.backend() == Backend::kCuda),
        threads_(machine.threads()),
        room_(std::max(most_bytes, kSmall)),
        transfer_(machine.device().new_stream()),
        compute_(machine.device().new_stream()) {
    // Touched before it is measured: untouched memory costs its first user page faults.
    const std::vector<std::byte> source(room_, std::byte{1});
    for (Buffer* buffer : {&out_, &in_}) {
      *buffer = machine.device().allocate(kTurns * room_);
      for (std::size_t turn = 0; turn < kTurns; ++turn) {
        machine.device().copy(*transfer_, buffer->bytes().subspan(turn * room_, room_), source);
      }
    }
    transfer_->synchronize();
  }

  void exchange(std::size_t bytes) {
    const int size = group_.size(), rank = group_.rank();
    group_.exchange(*transfer_, {{(rank + 1) % size, next(out_, bytes)}},
                    {{(rank + size - 1) % size, next(in_, bytes)}});
    turn_ = (turn_ + 1) % kTurns;
    arrive();
  }

  void copy(std::size_t bytes) {
    if (on_gpu_) {
      device_.copy(*transfer_, next(in_, bytes), next(out_, bytes));
    } else {
      copy_all(next(in_, bytes), next(out_, bytes), threads_);
    }
    turn_ = (turn_ + 1) % kTurns;
  }

  /// Until all of it is done.
  void finish() {
    transfer_->synchronize();
    compute_->synchronize();
  }

  /// From one stream's work to the other's.
  void hand_over() {
    if (!on_gpu_) transfer_->call([] {});
    arrive();
    finish();
  }

  /// Seconds there and back as the asking rank sees it.
  double round_trip(std::chrono::microseconds work) {
    const bool asks = group_.rank() == 0;
    const Bytes message = next(out_, kSmall);
    if (asks) work_for(work);
    const auto start = Clock::now();
    if (asks) group_.exchange(*transfer_, {{1, message}}, {});
    group_.exchange(*transfer_, {}, {{asks ? 1 : 0, message}});
    if (!asks) group_.exchange(*transfer_, {{0, message}}, {});
    arrive();
    finish();
    return seconds_since(start);
  }

 private:
  /// Until work on the compute stream may use what the transfer stream has done. A GPU waits by
  /// itself; on a CPU that is a thread's waking, which belongs to the figure.
  void arrive() {
    compute_->wait(transfer_->record());
    if (on_gpu_) return;
    compute_->call([] {});
    compute_->synchronize();
  }
  Bytes next(const Buffer& buffer, std::size_t bytes) const {
    return buffer.bytes().subspan(turn_ * room_, bytes);
  }

  const Group& group_;
  Device& device_;
  const bool on_gpu_;
  const int threads_;
  const std::size_t room_;
  std::size_t turn_ = 0;
  Buffer out_, in_;
  std::unique_ptr<Stream> transfer_;
  std::unique_ptr<Stream> compute_;  // last: they drain before what their work touches goes
};

void repeat(int count, RingMember* member, const std::function<void(RingMember&)>& once) {
  if (member == nullptr) return;
  for (int i = 0; i < count; ++i) once(*member);
  member->finish();
}

Timing round_trips(Machine& machine, RingMember* member, std::chrono::microseconds work,
                   std::chrono::duration<double> time) {
  constexpr double kAbout = 1e-4;  // of a trip
  const double expected = kAbout + std::chrono::duration<double>(work).count();
  const int rounds = static_cast<int>(std::clamp(time.count() / expected, 3.0, 2000.0));
  barrier(machine.control());
  std::vector<double> seconds;
  for (int round = 0; member != nullptr && round < rounds; ++round) {
    seconds.push_back(member->round_trip(work));
  }
  return seconds.empty() ? Timing{} : timing_of(seconds);
}

}  // namespace

CommFigures measure_comm(Machine& machine, const BenchCommOptions& options, int degree,
                         const std::atomic<bool>& interrupted) {
  std::vector<int> ranks(degree);
  std::iota(ranks.begin(), ranks.end(), 0);
  const bool takes_part = machine.rank() < degree;
  const Group group(machine.data(), takes_part ? ranks : std::vector<int>{machine.rank()});
  const std::int64_t most = std::ranges::max(options.bytes);
  expect_memory(machine, RingMember::memory_bytes(most), "lower --bytes");
  const std::unique_ptr<RingMember> member = agree_on(machine.control(), [&] {
    return takes_part ? std::make_unique<RingMember>(machine, group, most) : nullptr;
  });

  RankClock clock(machine, options.seconds);
  CommFigures figures;
  for (std::int64_t bytes : options.bytes) {
    if (any_rank(machine.control(), interrupted)) return figures;
    const auto time = [&](void (RingMember::*once)(std::size_t)) {
      return clock.time([&](int count) {
        repeat(count, member.get(), [&](RingMember& self) { (self.*once)(bytes); });
      });
    };
    figures.ring.push_back(
        {.bytes = bytes, .exchange = time(&RingMember::exchange), .copy = time(&RingMember::copy)});
  }
  if (degree == 1 || any_rank(machine.control(), interrupted)) return figures;
  const Timing handed = clock.time(
      [&](int count) { repeat(count, member.get(), [](RingMember& self) { self.hand_over(); }); });
  RingMember* const speaker = machine.rank() < 2 ? member.get() : nullptr;
  for (const auto work : {std::chrono::microseconds(0), std::chrono::microseconds(1000)}) {
    figures.round_trips.push_back({.bytes = kSmall,
                                   .after_work = work,
                                   .trip = round_trips(machine, speaker, work, options.seconds),
                                   .yardstick_seconds = 2 * handed.seconds});
  }
  return figures;
}

}  // namespace longspan
