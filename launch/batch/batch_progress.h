// What a person sees on standard error while a batch runs: on a terminal a line that redraws
// itself, elsewhere a line every five seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>

#include "launch/progress.h"

namespace longspan {

/// How far a batch is.
struct BatchCounts {
  std::int64_t requests = 0;  // in the input
  std::int64_t earlier = 0;   // of them answered before this run
  std::int64_t done = 0;      // answered by now, the earlier ones included
  std::int64_t failed = 0;    // of those answered by this run
  std::int64_t read = 0;      // tokens of prompts, by this run
  std::int64_t fetched = 0;   // tokens of prompts that came from disk
  std::int64_t copied = 0;    // or from another group
  std::int64_t written = 0;   // tokens of answers, by this run
  double under_way = 0;       // requests' worth of work in those that are not done
  double kv_share = 0;        // of KV memory that is in use
};

class BatchProgress {
 public:
  using Clock = std::chrono::steady_clock;

  BatchProgress(bool terminal, Clock::time_point start)
      : line_(terminal), start_(start), told_(start) {}

  /// Shows the counts, if it is time.
  void update(const BatchCounts& counts, Clock::time_point now);
  /// Clears the line.
  void finish() { line_.clear(); }

  /// "12 of 30 requests (1 failed), 410 tokens/s in, 96 out, KV 45 %, 8 s left"
  std::string text(const BatchCounts& counts, Clock::time_point now) const;

 private:
  struct Sample {
    Clock::time_point at;
    std::int64_t read = 0;
    std::int64_t written = 0;
  };

  void remember(const BatchCounts& counts, Clock::time_point now);

  StatusLine line_;
  Clock::time_point start_;
  Clock::time_point told_;
  std::deque<Sample> samples_;  // of the last seconds, oldest first: rates are of these
};

}  // namespace longspan
