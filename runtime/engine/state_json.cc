#include "runtime/engine/state_json.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "comm/error.h"
#include "comm/file_io.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 4> kPhases{"waiting", "prefilling", "decoding", "held"};
constexpr std::array<std::string_view, kPageStates> kStates{
    name_of(PageState::kFree), name_of(PageState::kReserved), name_of(PageState::kLive),
    name_of(PageState::kCached), name_of(PageState::kRetired)};

template <typename Word, std::size_t kCount>
Word word_of(const json& value, const std::array<std::string_view, kCount>& words) {
  const auto at = std::ranges::find(words, value.get<std::string>());
  if (at == words.end()) throw DataError(str("there is no {} here", value.dump()));
  return static_cast<Word>(at - words.begin());
}

json json_of(PageRef page) { return {page.owner, page.slot, page.generation}; }

PageRef page_of(const json& value) {
  return {value.at(0).get<int>(), value.at(1).get<std::int32_t>(),
          value.at(2).get<std::uint32_t>()};
}

json json_of(const RequestState& request) {
  json value{{"id", request.id},
             {"phase", kPhases.at(static_cast<std::size_t>(request.phase))},
             {"prompt_tokens", request.prompt_tokens},
             {"max_new", request.max_new},
             {"room", request.room},
             {"sampled", request.sampled},
             {"preempted", request.preempted},
             {"fetching", request.fetching},
             {"computed", request.computed},
             {"group", request.group},
             {"owners", request.owners},
             {"pages", json::array()}};
  for (const PageRef page : request.pages) value["pages"].push_back(json_of(page));
  if (request.tail) value["tail"] = json_of(*request.tail);
  return value;
}

RequestState request_of(const json& value) {
  RequestState request{.id = value.at("id").get<RequestId>(),
                       .phase = word_of<RequestPhase>(value.at("phase"), kPhases),
                       .prompt_tokens = value.at("prompt_tokens").get<std::int64_t>(),
                       .max_new = value.at("max_new").get<std::int64_t>(),
                       .room = value.at("room").get<std::int64_t>(),
                       .sampled = value.at("sampled").get<std::int64_t>(),
                       .preempted = value.at("preempted").get<std::int64_t>(),
                       .fetching = value.at("fetching").get<std::int64_t>(),
                       .computed = value.at("computed").get<std::int64_t>(),
                       .group = value.at("group").get<std::vector<int>>(),
                       .owners = value.at("owners").get<std::vector<int>>()};
  for (const json& page : value.at("pages")) request.pages.push_back(page_of(page));
  if (value.contains("tail")) request.tail = page_of(value["tail"]);
  return request;
}

json json_of(const PageRecord& page) {
  return {{"at", json_of(page.at)}, {"state", name_of(page.state)}, {"refs", page.refs},
          {"leases", page.leases},  {"filled", page.filled},        {"number", page.number}};
}

PageRecord record_of(const json& value) {
  return {.at = page_of(value.at("at")),
          .state = word_of<PageState>(value.at("state"), kStates),
          .refs = value.at("refs").get<std::int32_t>(),
          .leases = value.at("leases").get<std::int32_t>(),
          .filled = value.at("filled").get<std::int32_t>(),
          .number = value.at("number").get<std::int32_t>()};
}

json json_of(const TierCounts& tier, std::int64_t page_bytes) {
  return {{"places", tier.places},    {"pages", tier.kept},      {"bytes", tier.kept * page_bytes},
          {"page_bytes", page_bytes}, {"fetched", tier.fetched}, {"missed", tier.missed}};
}

TierCounts tier_of(const json& value) {
  return {.places = value.at("places").get<std::int64_t>(),
          .kept = value.at("pages").get<std::int64_t>(),
          .fetched = value.at("fetched").get<std::int64_t>(),
          .missed = value.at("missed").get<std::int64_t>()};
}

/// A link or file that somebody put there is left alone: the file is new, or there is none. Errno's
/// error, or 0.
int write_new(const std::filesystem::path& path, std::string_view text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return errno;
  const int error = write_at(file, 0, std::as_bytes(std::span(text))).error;
  if (::close(file) != 0 && error == 0) return errno;
  return error;
}

}  // namespace

json json_of(const PlannerState& state) {
  json value{{"epoch", state.epoch},
             {"page_tokens", state.page_tokens},
             {"capacity", state.capacity},
             {"promised", state.promised},
             {"preemptions", state.preemptions},
             {"tier", json_of(state.tier, state.page_bytes)},
             {"requests", json::array()},
             {"pages", json::array()}};
  for (const RequestState& request : state.requests) value["requests"].push_back(json_of(request));
  for (const PageRecord& page : state.pages) value["pages"].push_back(json_of(page));
  return value;
}

PlannerState planner_state_of(const json& value) {
  PlannerState state{.epoch = value.at("epoch").get<std::uint64_t>(),
                     .page_tokens = value.at("page_tokens").get<std::int64_t>(),
                     .capacity = value.at("capacity").get<std::vector<std::int64_t>>(),
                     .promised = value.at("promised").get<std::int64_t>(),
                     .preemptions = value.at("preemptions").get<std::int64_t>(),
                     .tier = tier_of(value.at("tier")),
                     .page_bytes = value.at("tier").at("page_bytes").get<std::int64_t>()};
  if (state.page_tokens < 1) throw DataError("a page holds a token at least");
  for (const json& request : value.at("requests")) state.requests.push_back(request_of(request));
  for (const json& page : value.at("pages")) state.pages.push_back(record_of(page));
  return state;
}

void write_state(const PlannerState& state, std::optional<int> group) {
  std::error_code error;
  const auto folder = std::filesystem::temp_directory_path(error);
  const std::string of_group = group ? str("group-{}-", *group) : "";
  const auto path = folder / str("longspan-state-{}-{}{}.json", ::getpid(), of_group, state.epoch);
  const std::string what = str("the scheduler's state{}", group ? str(" of group {}", *group) : "");
  const int why = error ? error.value() : write_new(path, json_of(state).dump(1));
  if (why == 0) {
    log(LogLevel::kInfo, str("{} after step {}: {}", what, state.epoch, path.string()));
  } else {
    log(LogLevel::kWarning,
        str("{} cannot be written to {}: {}", what, path.string(), std::strerror(why)));
  }
}

}  // namespace longspan
