// What a rank did, and when: spans that its streams and its host thread leave while they run.
//
//   driver of a stream    add ----- add -- add ----- add        (or the host thread)
//                              lane |=====================|  bounded, one writer at a time
//   host thread           between two steps: drain              comm/trace_file.h
//
// A lane takes no lock, asks for no memory and never waits: a span that finds it full is dropped
// and counted. Where nothing is traced the lane is null, and that is all that is looked at.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace longspan {

/// What a span was spent on, which decides how a trace adds it up.
enum class TraceCategory {
  kCompute,   // kernels and copies
  kExchange,  // from when this rank was ready until all had come; a late peer counts too
  kWait,      // for another stream, or the host for its stream
  kStep,      // an outline around others: a step, a layer
};

struct TraceArg {
  const char* key = nullptr;  // absent: no more arguments
  std::int64_t value = 0;
};

/// What an operation is called. Made whether it is traced or not, so it is plain numbers, and its
/// words are literals.
struct TraceLabel {
  const char* name = "work";
  TraceCategory category = TraceCategory::kCompute;
  TraceArg args[4] = {};
};

struct TraceEvent {
  using Time = std::chrono::steady_clock::time_point;

  TraceLabel label;
  Time begin;
  Time end;
  std::string more;  // arguments that are no numbers, as JSON: "\"to\":[1,2]"
};

/// The spans of one stream or thread, on their way to the file. One thread at a time adds (a
/// stream's driver), one drains.
class TraceLane {
 public:
  using Time = TraceEvent::Time;
  static Time now() { return std::chrono::steady_clock::now(); }

  explicit TraceLane(std::size_t capacity) : ring_(capacity) { open_.reserve(16); }

  void add(const TraceLabel& label, Time begin, Time end, std::string more = {});
  /// An outline: begins here, ends with the matching close().
  void open(const TraceLabel& label) { open_.emplace_back(label, now()); }
  void close();

  /// Hands every span that is there to `take`, oldest first.
  template <typename Take>
  void drain(Take take) {
    const std::size_t end = added_.load(std::memory_order_acquire);
    std::size_t at = drained_.load(std::memory_order_relaxed);
    for (; at != end; ++at) take(std::exchange(ring_[at % ring_.size()], {}));
    drained_.store(at, std::memory_order_release);
  }
  /// Whether it is time to drain: a step's spans should still find room.
  bool filling() const {
    return added_.load(std::memory_order_relaxed) - drained_.load(std::memory_order_relaxed) >
           ring_.size() / 8;
  }
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  std::vector<TraceEvent> ring_;
  std::atomic<std::size_t> added_ = 0;
  std::atomic<std::size_t> drained_ = 0;
  std::atomic<std::uint64_t> dropped_ = 0;
  std::vector<std::pair<TraceLabel, Time>> open_;
};

/// A lane in use. Given back, it serves the next stream: those of one job after another share
/// lanes.
struct ReturnLane {
  std::atomic<bool>* leased = nullptr;
  void operator()(TraceLane*) const { leased->store(false, std::memory_order_release); }
};
using TraceLease = std::unique_ptr<TraceLane, ReturnLane>;

/// A span as long as this lives; nothing when `lane` is null.
class TraceSpan {
 public:
  TraceSpan(TraceLane* lane, const TraceLabel& label, std::string more = {}) : lane_(lane) {
    if (lane_) event_ = {label, TraceLane::now(), {}, std::move(more)};
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;
  ~TraceSpan() {
    if (lane_) lane_->add(event_.label, event_.begin, TraceLane::now(), std::move(event_.more));
  }

 private:
  TraceLane* lane_;
  TraceEvent event_;
};

}  // namespace longspan
