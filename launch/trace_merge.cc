// `longspan trace merge`: the traces of all ranks on one clock, in one file, and what they say in
// short.
//
//   rank-0.json ---.
//   rank-1.json ---+--- on rank 0's clock --- by time --- trace.json
//   rank-2.json ---'                      \--- compute, exchange, both at once: a line a rank
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

#include "comm/error.h"
#include "comm/file_error.h"
#include "comm/machine.h"
#include "comm/str.h"
#include "launch/commands.h"
#include "launch/progress.h"
#include "launch/rank_trace.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_output(const fs::path& path, int error) {
  throw_write_error(error, str("cannot write {}: {}; name another file with --output",
                               path.string(), std::strerror(error)));
}

struct Merged {
  std::vector<const TracedSpan*> spans;  // by time, an outline before what it holds
  Period time;
};

Merged merged(const std::map<int, RankTrace>& traces) {
  Merged all;
  for (const auto& [rank, trace] : traces) {
    for (const TracedSpan& span : trace.spans) all.spans.push_back(&span);
  }
  if (all.spans.empty()) return all;
  std::ranges::sort(all.spans, [](const TracedSpan* a, const TracedSpan* b) {
    if (a->time.begin != b->time.begin) return a->time.begin < b->time.begin;
    return a->time.end > b->time.end;
  });
  const auto ends = [](const TracedSpan* span) { return span->time.end; };
  all.time = {all.spans.front()->time.begin, std::ranges::max(all.spans, {}, ends)->time.end};
  return all;
}

/// Times count from the first event. One event a line, so that a text tool can work on it too.
void write(const fs::path& path, const std::map<int, RankTrace>& traces, const Merged& all) {
  errno = 0;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (!out) refuse_output(path, errno);
  out << "{\"traceEvents\":[";
  const char* separator = "\n";
  const auto put = [&](const std::string& event) {
    out << separator << event;
    separator = ",\n";
  };
  for (const auto& [rank, trace] : traces) {
    for (const std::string& event : trace.names) put(event);
  }
  for (const TracedSpan* span : all.spans) {
    const std::int64_t at = span->time.begin - all.time.begin;
    put(str(R"({{"ts":{}.{:03},{})", at / 1000, at % 1000, span->rest.substr(1)));
  }
  out << "\n],\n\"displayTimeUnit\":\"ms\"}\n";
  if (!out.flush()) refuse_output(path, errno);
}

double seconds(std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }

void print_summary(const std::string& output, const std::map<int, RankTrace>& traces,
                   const Merged& all) {
  std::cout << str("{}: {} rank{}, {} events, {:.3f} s\n", output, traces.size(),
                   traces.size() == 1 ? "" : "s",
                   with_thousands(static_cast<std::int64_t>(all.spans.size())),
                   seconds(all.time.end - all.time.begin));
  const double whole =
      static_cast<double>(std::max<std::int64_t>(1, all.time.end - all.time.begin));
  for (const auto& [rank, trace] : traces) {
    const auto compute = united(trace.compute), exchange = united(trace.exchange);
    const std::int64_t exchanged = length(exchange);
    std::cout << str("rank {}: compute {:.1f} %, ", rank,
                     100 * static_cast<double>(length(compute)) / whole);
    if (exchanged == 0) {
      std::cout << "no exchange\n";
    } else {
      std::cout << str("exchange {:.3f} s, {:.1f} % of it under compute\n", seconds(exchanged),
                       100 * static_cast<double>(common_length(compute, exchange)) /
                           static_cast<double>(exchanged));
    }
  }
}

void print_what_is_missing(const std::map<int, RankTrace>& traces) {
  const int ranks = traces.begin()->second.ranks;
  if (const int absent = ranks - static_cast<int>(traces.size()); absent > 0) {
    std::cerr << str(
        "longspan: {} of the run's {} ranks left no file here; ranks on other hosts may have "
        "written to a folder of theirs\n",
        absent, ranks);
  }
  for (const auto& [rank, trace] : traces) {
    if (trace.dropped == 0) continue;
    std::cerr << str("longspan: rank {} dropped {} events, which are missing here\n", rank,
                     with_thousands(static_cast<std::int64_t>(trace.dropped)));
  }
}

void expect_no_input(const fs::path& output, const std::map<int, RankTrace>& traces) {
  for (const auto& [rank, trace] : traces) {
    std::error_code ignored;
    if (!fs::equivalent(output, trace.path, ignored)) continue;
    throw UsageError(str("--output {} is a file to be merged; name another", output.string()));
  }
}

}  // namespace

ExitCode trace_merge(const TraceMergeOptions& options) {
  if (announced_rank() != 0) return ExitCode::kClean;
  const fs::path output =
      options.output ? fs::path(*options.output) : fs::path(options.folder) / "trace.json";
  const auto traces = read_rank_traces(options.folder);
  expect_no_input(output, traces);
  const Merged all = merged(traces);
  write(output, traces, all);
  print_what_is_missing(traces);
  print_summary(output.string(), traces, all);
  return ExitCode::kClean;
}

}  // namespace longspan
