// Random events for a page ledger, as data: a script can be replayed, shortened and printed.
//
// An event means something in whatever state it finds: its draws choose among what is there. So any
// part of a script is a script, and one that fails can be cut down to the events that matter.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace longspan::test {

enum class LedgerEventKind {
  kStart,
  kFork,
  kPromise,
  kGrant,
  kTakeBack,
  kAdvance,
  kToken,
  kOldReport,
  kRelease,
  kGoBack,
  kMove,
  kPrepared,
  kCommitMove,
  kCommitCopy,
  kCancel,
  kTime,
  kDrained,
  kLease,
  kEndLease,
  kEvict,
  kCapacity,
  kFetch,
  kFetched,
  kLose,
};

const char* name_of(LedgerEventKind kind);

struct LedgerEvent {
  LedgerEventKind kind = LedgerEventKind::kTime;
  std::array<int, 4> draws{};  // 0 at least
};

struct LedgerScript {
  std::vector<std::int64_t> capacity;
  std::int64_t page_tokens = 1;
  std::int64_t headroom = 0;
  std::vector<std::int64_t> tier = {};  // places, by owner
  std::vector<LedgerEvent> events;
};

/// One to four owners with up to eight pages: small enough that memory runs out all the time.
LedgerScript random_script(std::uint64_t seed, int events);

/// The shortest part found of a script that fails: no single event of it can be left out, and no
/// draw of it be 0 (Zeller's delta debugging). `fails` is asked about parts of the script.
LedgerScript shrink(LedgerScript script, const std::function<bool(const LedgerScript&)>& fails);

}  // namespace longspan::test
