#include "launch/rank_trace.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

[[noreturn]] void refuse(const fs::path& path, int error) {
  const std::string what = str("{}: {}", path.string(), std::strerror(error));
  if (error == EACCES || error == EPERM || error == EROFS) throw PermissionError(what);
  if (error == ENOENT) throw MissingInput(what + "; check the path");
  throw IoError(what);
}

[[noreturn]] void refuse_damaged(const fs::path& path, const std::string& how) {
  throw DataError(
      str("{}: damaged, {}; record the run again, or remove this file to merge the other ranks",
          path.string(), how));
}

/// N of rank-N.json.
std::optional<int> rank_of(const std::string& name) {
  constexpr std::string_view kBefore = "rank-", kAfter = ".json";
  if (!name.starts_with(kBefore) || !name.ends_with(kAfter)) return std::nullopt;
  const std::string digits =
      name.substr(kBefore.size(), name.size() - kBefore.size() - kAfter.size());
  const bool number = !digits.empty() && digits.size() <= 6 &&
                      std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
  return number ? std::optional(std::stoi(digits)) : std::nullopt;
}

std::map<int, fs::path> rank_files(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error == std::errc::no_such_file_or_directory) {
    throw MissingInput(
        str("there is no folder {}; longspan generate --trace makes it", folder.string()));
  }
  if (error == std::errc::not_a_directory) {
    throw MissingInput(str("{} is a file; name the folder it lies in", folder.string()));
  }
  if (error) refuse(folder, error.value());
  std::map<int, fs::path> files;
  for (const fs::directory_entry& entry : entries) {
    if (const auto rank = rank_of(entry.path().filename().string())) files[*rank] = entry.path();
  }
  if (files.empty()) {
    throw MissingInput(
        str("{} holds no rank-N.json; record a run with longspan generate ... --trace {}",
            folder.string(), folder.string()));
  }
  return files;
}

/// Microseconds as the format has them, in whole nanoseconds.
std::int64_t nanoseconds(const json& event, const char* key, const fs::path& path) {
  const auto found = event.find(key);
  if (found == event.end() || !found->is_number() || std::abs(found->get<double>()) > 1e14) {
    refuse_damaged(path, str("an event has no {}", key));
  }
  return std::llround(found->get<double>() * 1000);
}

void add_event(RankTrace& trace, json event) {
  const std::string phase = event.value("ph", "");
  if (phase.empty()) refuse_damaged(trace.path, "an event has no ph");
  if (phase == "M") {
    trace.names.push_back(event.dump(-1, ' ', false, json::error_handler_t::replace));
    return;
  }
  TracedSpan span;
  span.time.begin = nanoseconds(event, "ts", trace.path);
  const std::int64_t duration = phase == "X" ? nanoseconds(event, "dur", trace.path) : 0;
  span.time.end = span.time.begin + duration;
  const std::string category = event.value("cat", "");
  if (category == "compute") trace.compute.push_back(span.time);
  if (category == "exchange") trace.exchange.push_back(span.time);
  event.erase("ts");
  span.rest = event.dump(-1, ' ', false, json::error_handler_t::replace);
  trace.spans.push_back(std::move(span));
}

/// Parses the file and hands each event over as soon as it is there; the rest is returned.
json parse(RankTrace& trace) {
  errno = 0;
  std::ifstream file(trace.path, std::ios::binary);
  if (!file) refuse(trace.path, errno);
  constexpr int kEventDepth = 2;  // the file, the array, the event
  try {
    return json::parse(file, [&](int depth, json::parse_event_t what, json& value) {
      if (what != json::parse_event_t::object_end || depth != kEventDepth) return true;
      add_event(trace, std::move(value));
      return false;
    });
  } catch (const json::parse_error& error) {
    refuse_damaged(trace.path, str("no JSON at byte {}", error.byte));
  } catch (const json::exception&) {
    refuse_damaged(trace.path, "an event is not what it should be");
  }
}

void shift(std::vector<Period>& times, std::int64_t offset) {
  for (Period& time : times) time = {time.begin + offset, time.end + offset};
}

RankTrace read_rank(const fs::path& path) {
  RankTrace trace{.path = path};
  const json file = parse(trace);
  std::int64_t offset = 0;
  try {
    const json& about = file.at("otherData");
    trace.ranks = about.at("ranks").get<int>();
    trace.run = about.at("run").get<std::string>();
    trace.dropped = about.at("dropped").get<std::uint64_t>();
    offset = about.at("clock_offset_ns").get<std::int64_t>();
    file.at("traceEvents");
  } catch (const json::exception&) {
    refuse_damaged(path, "not a trace of longspan generate --trace");
  }
  for (TracedSpan& span : trace.spans) {
    span.time = {span.time.begin + offset, span.time.end + offset};
  }
  shift(trace.compute, offset);
  shift(trace.exchange, offset);
  return trace;
}

}  // namespace

void remove_rank_traces(const fs::path& folder) {
  std::error_code missing;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, missing)) {
    if (!rank_of(entry.path().filename().string()) || !entry.is_regular_file(missing)) continue;
    std::error_code error;
    fs::remove(entry.path(), error);
    if (error) refuse(entry.path(), error.value());
  }
}

std::map<int, RankTrace> read_rank_traces(const fs::path& folder) {
  std::map<int, RankTrace> traces;
  for (const auto& [rank, path] : rank_files(folder)) {
    const RankTrace& added = traces.emplace(rank, read_rank(path)).first->second;
    const RankTrace& first = traces.begin()->second;
    if (added.run == first.run) continue;
    throw DataError(
        str("{} is of another run than {}; remove it, or give each run a folder of its own",
            path.string(), first.path.string()));
  }
  return traces;
}

}  // namespace longspan
