#include "comm/trace_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::size_t kBlock = 1 << 18;  // bytes of one write

[[noreturn]] void refuse(const std::filesystem::path& path, int error) {
  const std::string what = str("cannot make the trace {}: {}", path.string(), std::strerror(error));
  if (error == EACCES || error == EPERM || error == EROFS) {
    throw PermissionError(what + "; name a folder that may be written");
  }
  throw IoError(what + "; name another folder");
}

std::string_view name(TraceCategory category) {
  switch (category) {
    case TraceCategory::kCompute:
      return "compute";
    case TraceCategory::kExchange:
      return "exchange";
    case TraceCategory::kWait:
      return "wait";
    case TraceCategory::kStep:
      return "step";
  }
  return "";
}

std::string microseconds(std::chrono::nanoseconds time) {
  return str("{}.{:03}", time.count() / 1000, time.count() % 1000);
}

/// What goes between quotes: for host names, whose letters need no escape unless something is odd.
std::string plain(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c >= 0x7f || c == '"' || c == '\\'; }, '?');
  return text;
}

std::string arguments(const TraceEvent& event) {
  std::string members = event.more;
  for (const TraceArg& arg : event.label.args) {
    if (arg.key == nullptr) break;
    members += str(R"({}"{}":{})", members.empty() ? "" : ",", arg.key, arg.value);
  }
  return members;
}

/// A name or a sort index, for a process or, with a tid, for a thread.
std::string metadata(std::string_view what, int pid, int tid, const std::string& args) {
  return str(R"({{"name":"{}","ph":"M","pid":{},"tid":{},"args":{{{}}}}})", what, pid, tid, args);
}

}  // namespace

TraceFile::TraceFile(const std::filesystem::path& folder, TraceOwner owner, std::size_t lane_spans)
    : path_(folder / str("rank-{}.json", owner.rank)),
      owner_(std::move(owner)),
      lane_spans_(lane_spans) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) refuse(folder, error.value());
  errno = 0;
  file_.open(path_, std::ios::binary | std::ios::trunc);
  if (!file_) refuse(path_, errno);
  lanes_.emplace_back(0, lane_spans_);
  text_ = "{\"traceEvents\":[\n" +
          metadata("process_name", owner_.rank, 0,
                   str(R"("name":"rank {} on {}")", owner_.rank, plain(owner_.host))) +
          ",\n" +
          metadata("process_sort_index", owner_.rank, 0, str(R"("sort_index":{})", owner_.rank));
}

TraceFile::~TraceFile() {
  try {
    finish();
  } catch (const std::exception& error) {
    log(LogLevel::kWarning, error.what());
  }
}

TraceLease TraceFile::lease() {
  const std::lock_guard lock(mutex_);
  for (Numbered& lane : lanes_) {
    if (!lane.leased.exchange(true, std::memory_order_acq_rel)) {
      return {&lane.lane, {&lane.leased}};
    }
  }
  Numbered& lane = lanes_.emplace_back(static_cast<int>(lanes_.size()), lane_spans_);
  return {&lane.lane, {&lane.leased}};
}

void TraceFile::keep_up() {
  {
    const std::lock_guard lock(mutex_);
    if (std::ranges::none_of(lanes_, [](const Numbered& lane) { return lane.lane.filling(); })) {
      return;
    }
  }
  const TraceSpan span(&host(), {"write trace", TraceCategory::kStep});
  drain();
}

void TraceFile::drain() {
  const std::lock_guard lock(mutex_);
  for (Numbered& lane : lanes_) {
    lane.lane.drain([&](const TraceEvent& event) { write(lane, event); });
  }
  flush();
}

void TraceFile::flush() {
  errno = 0;
  file_.write(text_.data(), std::ssize(text_)).flush();
  if (!file_ && write_error_ == 0) write_error_ = errno;
  text_.clear();
}

void TraceFile::write(Numbered& lane, const TraceEvent& event) {
  ++lane.written;
  lane.exchanges = lane.exchanges || event.label.category == TraceCategory::kExchange;
  lane.steps = lane.steps || event.label.category == TraceCategory::kStep;
  text_ += str(R"(,
{{"name":"{}","cat":"{}","ph":"X","ts":{},"dur":{},"pid":{},"tid":{},"args":{{{}}}}})",
               event.label.name, name(event.label.category),
               microseconds(event.begin.time_since_epoch()), microseconds(event.end - event.begin),
               owner_.rank, lane.tid, arguments(event));
  if (text_.size() > kBlock) flush();
}

// The host thread on top, compute below it, transfers last.
void TraceFile::write_names() {
  int computes = 0, transfers = 0;
  for (const Numbered& lane : lanes_) {
    if (lane.written == 0) continue;
    std::string called = "host";
    int order = 0;
    if (lane.tid > 0) {
      int& same = lane.transfers() ? transfers : computes;
      called = lane.transfers() ? "transfer" : "compute";
      if (++same > 1) called += str(" {}", same);
      order = (lane.transfers() ? 1000 : 1) + same;
    }
    text_ += ",\n" + metadata("thread_name", owner_.rank, lane.tid, str(R"("name":"{}")", called));
    text_ += ",\n" +
             metadata("thread_sort_index", owner_.rank, lane.tid, str(R"("sort_index":{})", order));
  }
}

void TraceFile::write_end() {
  text_ += "\n],\n\"displayTimeUnit\":\"ms\",\n";
  text_ +=
      str(R"("otherData":{{"rank":{},"ranks":{},"host":"{}","run":"{:016x}","clock_offset_ns":{},)"
          R"("clock_round_trip_ns":{},"dropped":{}}}}})",
          owner_.rank, owner_.ranks, plain(owner_.host), owner_.clock.run,
          owner_.clock.offset.count(), owner_.clock.round_trip.count(), dropped());
  text_ += "\n";
}

void TraceFile::finish() {
  if (std::exchange(finished_, true)) return;
  drain();
  write_names();
  write_end();
  flush();
  file_.close();
  if (!file_) {
    throw IoError(str("the trace {} could not be written: {}", path_.string(),
                      write_error_ ? std::strerror(write_error_) : "is the disk full?"));
  }
}

std::uint64_t TraceFile::dropped() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t total = 0;
  for (const Numbered& lane : lanes_) total += lane.lane.dropped();
  return total;
}

}  // namespace longspan
