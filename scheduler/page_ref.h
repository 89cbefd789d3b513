// How pages of the cluster's KV memory are named, and what is said of them.
//
//   free -> reserved -> live -> cached -> free       retired: moved away, or read under a lease
//   after
//              |          |        |                 its last reference went; free when the readers
//              |          +--------+--> retired      are done
//              +--------------------------> free
//
// Every entry into `free` adds one to the slot's generation. Messages carry owner, slot and
// generation, so that one about what a slot held earlier is recognised.
#pragma once

#include <compare>
#include <cstdint>

namespace longspan {

struct PageRef {
  int owner = -1;          // instance, by its place in the capacities
  std::int32_t slot = -1;  // where it lies in its owner's pool
  std::uint32_t generation = 0;

  friend auto operator<=>(const PageRef&, const PageRef&) = default;
};

/// Names what a full page holds: its tokens and all before them. All zero: before the first page.
struct PageHash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  friend auto operator<=>(const PageHash&, const PageHash&) = default;
};

enum class PageState {
  kFree,
  kReserved,  // granted to a request that has not reached it, or the target of a move
  kLive,      // of one running request, or of several
  kCached,    // of none, full, in the prefix index: a hit makes it live again
  kRetired,   // to be freed when its last readers are done
};

constexpr int kPageStates = 5;

/// "free", "reserved", ...
constexpr const char* name_of(PageState state) {
  switch (state) {
    case PageState::kFree:
      return "free";
    case PageState::kReserved:
      return "reserved";
    case PageState::kLive:
      return "live";
    case PageState::kCached:
      return "cached";
    case PageState::kRetired:
      return "retired";
  }
  return "?";
}

using MoveId = std::int64_t;  // 0: none

struct Page {
  std::uint32_t generation = 0;
  PageState state = PageState::kFree;
  std::int32_t refs = 0;      // requests whose tables name it
  std::int32_t leases = 0;    // readers beside the requests: save, tier, replication
  std::int32_t filled = 0;    // positions computed
  std::int32_t number = 0;    // which page of its sequence: the same for all who share it
  bool indexed = false;       // a hit may find it, by `hash`
  bool of_move = false;       // a move's target, or what a move left: paid from the headroom
  bool awaits_drain = false;  // what a move left, until everyone has the new plan
  PageHash hash;
  MoveId move = 0;  // the move that reads it
  std::uint64_t last_used = 0;
};

}  // namespace longspan
