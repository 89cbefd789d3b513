// The trace that one rank wrote (comm/trace_file.h), read back for merging.
//
// Events are kept as text beside the few numbers that are looked at, never as parsed objects: a
// trace is long.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "launch/trace_periods.h"

namespace longspan {

struct TracedSpan {
  Period time;       // on rank 0's clock
  std::string rest;  // the event as JSON, without its time stamp
};

struct RankTrace {
  std::filesystem::path path;
  int ranks = 1;  // of the run
  std::string run;
  std::uint64_t dropped = 0;
  std::vector<std::string> names;  // events without a time, as JSON
  std::vector<TracedSpan> spans;
  std::vector<Period> compute;
  std::vector<Period> exchange;
};

/// Removes what a traced run left in `folder`, which need not be there. Throws PermissionError or
/// IoError.
void remove_rank_traces(const std::filesystem::path& folder);

/// The traces of a folder, by rank: at least one, all of one run. Throws MissingInput or DataError.
std::map<int, RankTrace> read_rank_traces(const std::filesystem::path& folder);

}  // namespace longspan
