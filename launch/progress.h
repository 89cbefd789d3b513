// What a person sees on standard error while a model is loaded and a long prompt is read.
//
// On a terminal one line that redraws itself; elsewhere a plain line per chunk of the prompt, and
// none for loading, whose end is announced anyway.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace longspan {

/// A line of a terminal that is drawn again and again.
class StatusLine {
 public:
  explicit StatusLine(bool terminal) : terminal_(terminal) {}
  ~StatusLine() { clear(); }

  bool terminal() const { return terminal_; }
  /// Whether the line is old enough to be drawn again.
  bool due() const;
  void draw(const std::string& text);
  void clear();

 private:
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point drawn_;
};

class LoadingBar {
 public:
  /// `doing`: "loading"
  LoadingBar(std::string doing, bool terminal) : doing_(std::move(doing)), line_(terminal) {}

  /// `done` of `total` bytes are read. One call at a time.
  void bytes(std::uint64_t done, std::uint64_t total);

 private:
  std::string doing_;
  StatusLine line_;
};

class PrefillProgress {
 public:
  /// `layers` of the model: progress inside a chunk is counted in layers.
  PrefillProgress(int layers, bool terminal);

  /// Positions [done, done + chunk) of `total` are about to be computed; said again with a larger
  /// `chunk` when more of the same step becomes known.
  void chunk(std::int64_t done, std::int64_t chunk, std::int64_t total);
  /// A layer of that chunk is done. Called on another thread.
  void layer(int layer);
  /// The prompt is read: clears the line.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  void draw(double tokens);

  int layers_;
  StatusLine line_;
  std::mutex mutex_;
  std::int64_t done_ = 0;
  std::int64_t chunk_ = 0;
  std::int64_t total_ = 0;
  Clock::time_point start_;
};

/// "[=====     ]" of a fixed width. `share`: 0 to 1.
std::string bar(double share);

/// "8 s", "3 min 20 s".
std::string duration_text(double seconds);

/// "12,345".
std::string with_thousands(std::int64_t number);

/// "1 file", "2 files".
std::string count_text(std::size_t count, std::string_view what);

}  // namespace longspan
