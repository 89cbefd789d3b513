// The trace of one rank: its lanes, and the file they are written to, in Chrome's trace event
// format (an object with "traceEvents"), which chrome://tracing and Perfetto open.
//
//   pid   the rank          tid   0 the host thread, then one lane a stream
//   ts    microseconds of this rank's steady clock; "otherData" says what to add for rank 0's
//
// Spans are written between steps, and only once a lane has filled up a bit: no step waits for a
// disk, and memory stays at kLaneSpans spans a lane (4 MiB).
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>

#include "comm/trace.h"
#include "comm/trace_clock.h"

namespace longspan {

/// Whose trace it is.
struct TraceOwner {
  int rank = 0;
  int ranks = 1;
  std::string host;
  TraceClock clock;
};

class TraceFile {
 public:
  static constexpr std::size_t kLaneSpans = std::size_t{32} * 1024;

  /// Creates `folder` if it is missing, and rank-N.json in it. Throws PermissionError or IoError.
  TraceFile(const std::filesystem::path& folder, TraceOwner owner,
            std::size_t lane_spans = kLaneSpans);
  /// Completes the file as far as that goes.
  ~TraceFile();
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  /// A lane for a new stream. Its spans may be added by other threads than those below.
  TraceLease lease();
  /// The lane of the thread that drives the steps, which is also the one to call what follows.
  TraceLane& host() { return lanes_.front().lane; }
  /// Between two steps: writes, if a lane is filling up.
  void keep_up();
  /// Writes what remains and completes the file. All leases are back. Throws IoError.
  void finish();

  /// Spans that did not fit.
  std::uint64_t dropped() const;

 private:
  struct Numbered {
    Numbered(int the_tid, std::size_t spans) : tid(the_tid), lane(spans) {}

    const int tid;
    TraceLane lane;
    std::atomic<bool> leased = true;
    std::uint64_t written = 0;
    // A lane is called after what it did: nobody has to name streams.
    bool exchanges = false;
    bool steps = false;  // it computes, even if it waits for peers by itself at times

    bool transfers() const { return exchanges && !steps; }
  };

  void drain();
  void flush();
  void write(Numbered& lane, const TraceEvent& event);
  void write_names();
  void write_end();

  const std::filesystem::path path_;
  const TraceOwner owner_;
  const std::size_t lane_spans_;
  std::ofstream file_;
  std::string text_;     // not yet in the file
  int write_error_ = 0;  // errno of the first write that failed
  bool finished_ = false;
  mutable std::mutex mutex_;  // the list of lanes, not what is in them
  std::deque<Numbered> lanes_;
};

}  // namespace longspan
