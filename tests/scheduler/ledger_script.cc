#include "tests/scheduler/ledger_script.h"

#include <algorithm>
#include <random>
#include <utility>

namespace longspan::test {
namespace {

using enum LedgerEventKind;

/// How often each event comes.
constexpr auto kWeights = std::to_array<std::pair<LedgerEventKind, int>>({
    {kStart, 14},   {kFork, 4},      {kPromise, 4},    {kGrant, 12},     {kTakeBack, 1},
    {kAdvance, 14}, {kToken, 14},    {kOldReport, 1},  {kRelease, 5},    {kGoBack, 2},
    {kMove, 12},    {kPrepared, 14}, {kCommitMove, 6}, {kCommitCopy, 6}, {kCancel, 2},
    {kTime, 1},     {kDrained, 8},   {kLease, 3},      {kEndLease, 4},   {kEvict, 1},
    {kCapacity, 1}, {kFetch, 9},     {kFetched, 8},    {kLose, 1},
});

LedgerEventKind random_kind(std::mt19937_64& random) {
  int all = 0;
  for (const auto& [kind, weight] : kWeights) all += weight;
  int draw = static_cast<int>(random() % all);
  for (const auto& [kind, weight] : kWeights) {
    if ((draw -= weight) < 0) return kind;
  }
  return kTime;
}

/// The script without events [first, first + count).
LedgerScript without(const LedgerScript& script, std::size_t first, std::size_t count) {
  LedgerScript part = script;
  const auto begin = part.events.begin() + static_cast<std::ptrdiff_t>(first);
  const auto left = part.events.end() - begin;
  part.events.erase(begin, begin + std::min(left, static_cast<std::ptrdiff_t>(count)));
  return part;
}

}  // namespace

const char* name_of(LedgerEventKind kind) {
  switch (kind) {
    case kStart:
      return "start";
    case kFork:
      return "fork";
    case kPromise:
      return "promise";
    case kGrant:
      return "grant";
    case kTakeBack:
      return "take back";
    case kAdvance:
      return "advance";
    case kToken:
      return "token";
    case kOldReport:
      return "old report";
    case kRelease:
      return "release";
    case kGoBack:
      return "go back";
    case kMove:
      return "move";
    case kPrepared:
      return "prepared";
    case kCommitMove:
      return "commit move";
    case kCommitCopy:
      return "commit copy";
    case kCancel:
      return "cancel";
    case kTime:
      return "time";
    case kDrained:
      return "drained";
    case kLease:
      return "lease";
    case kEndLease:
      return "end lease";
    case kEvict:
      return "evict";
    case kCapacity:
      return "capacity";
    case kFetch:
      return "fetch";
    case kFetched:
      return "fetched";
    case kLose:
      return "lose";
  }
  return "?";
}

LedgerScript random_script(std::uint64_t seed, int events) {
  std::mt19937_64 random(seed);
  const auto below = [&](int bound) { return static_cast<int>(random() % bound); };
  LedgerScript script{.capacity = std::vector<std::int64_t>(below(8) == 0 ? 1 : 2 + below(3))};
  for (std::int64_t& pages : script.capacity) pages = below(9);
  script.capacity[0] = std::max<std::int64_t>(script.capacity[0], 3);
  script.page_tokens = 1 + below(4);
  script.headroom = below(6) == 0 ? 0 : 1 + below(3);
  if (below(5) > 0) {
    for (std::size_t i = 0; i < script.capacity.size(); ++i) script.tier.push_back(below(10));
  }
  for (int i = 0; i < events; ++i) {
    LedgerEvent& event = script.events.emplace_back(LedgerEvent{random_kind(random), {}});
    for (int& draw : event.draws) draw = below(1 << 16);
  }
  return script;
}

LedgerScript shrink(LedgerScript script, const std::function<bool(const LedgerScript&)>& fails) {
  for (std::size_t size = script.events.size(); size > 0; size /= 2) {
    bool cut = true;
    while (cut) {
      cut = false;
      for (std::size_t first = 0; first < script.events.size();) {
        LedgerScript part = without(script, first, size);
        if (fails(part)) {
          script = std::move(part);
          cut = true;
        } else {
          first += size;
        }
      }
    }
  }
  for (std::size_t i = 0; i < script.events.size(); ++i) {
    for (std::size_t draw = 0; draw < script.events[i].draws.size(); ++draw) {
      const int kept = std::exchange(script.events[i].draws[draw], 0);
      if (!fails(script)) script.events[i].draws[draw] = kept;
    }
  }
  return script;
}

}  // namespace longspan::test
