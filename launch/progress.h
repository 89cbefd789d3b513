// What a person sees on standard error while a long prompt is read.
//
// On a terminal one line that redraws itself; elsewhere a plain line per chunk of the prompt.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace longspan {

class PrefillProgress {
 public:
  /// `layers` of the model: progress inside a chunk is counted in layers.
  PrefillProgress(int layers, bool terminal);
  /// Clears the line if one is shown.
  ~PrefillProgress();

  /// Positions [done, done + chunk) of `total` are about to be computed.
  void chunk(std::int64_t done, std::int64_t chunk, std::int64_t total);
  /// A layer of that chunk is done. Called on another thread.
  void layer(int layer);
  /// The prompt is read: clears the line.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  void draw(double tokens);
  void clear();

  int layers_;
  bool terminal_;
  std::mutex mutex_;
  std::int64_t done_ = 0;
  std::int64_t chunk_ = 0;
  std::int64_t total_ = 0;
  Clock::time_point start_;
  Clock::time_point drawn_;
  bool shown_ = false;
};

/// "12,345".
std::string with_thousands(std::int64_t number);

}  // namespace longspan
