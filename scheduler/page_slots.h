// Every slot of the cluster: the free lists, and how many pages are in which state.
//
// All changes of a page's state, leases and charge go through update(): there the step is checked
// against the drawing in page_ref.h, counts follow, and what becomes free gets its next generation.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/page_ref.h"

namespace longspan {

/// Pages of one owner, or of all.
struct PageCounts {
  std::array<std::int64_t, kPageStates> in{};  // by state
  std::int64_t pinned = 0;  // cached or retired, cannot be had, and no request or move pays for it
  std::int64_t of_moves = 0;

  std::int64_t at(PageState state) const { return in[static_cast<int>(state)]; }
  /// Live, cached and retired.
  std::int64_t used() const;
  std::int64_t in_use() const { return used() + at(PageState::kReserved); }

  friend bool operator==(const PageCounts&, const PageCounts&) = default;
};

/// An owner that there is not is the caller's mistake: std::out_of_range, a std::logic_error.
class PageSlots {
 public:
  /// `capacity`: slots by owner, all free.
  explicit PageSlots(std::span<const std::int64_t> capacity);

  int owners() const { return static_cast<int>(pools_.size()); }
  /// The page, while `ref` is current: its slot has not been freed since. Null for others, and for
  /// what names no slot at all.
  const Page* find(PageRef ref) const;
  /// The same of a page that must be current. Throws std::logic_error.
  const Page& at(PageRef ref) const;

  /// A free slot of `owner`, now reserved. Throws std::logic_error where it has no room.
  PageRef take(int owner);
  /// Changes a current page by change(page). Throws std::logic_error for a step of states that
  /// cannot be; nothing that was made of the ledger is to be trusted then.
  template <typename Change>
  void update(PageRef ref, Change&& change) {
    Page& page = page_at(ref);
    const Page before = page;
    std::forward<Change>(change)(page);
    settle(ref, before, page);
  }

  std::int64_t capacity(int owner) const { return pools_.at(owner).capacity; }
  std::int64_t total_capacity() const { return total_capacity_; }
  /// Slots there are, whatever the capacity.
  std::int64_t slots(int owner) const { return std::ssize(pools_.at(owner).pages); }
  /// Pages that can still be taken from `owner`.
  std::int64_t room(int owner) const;
  /// How many slots of `owner` may be in use; more may be until they are freed. Throws
  /// std::logic_error for more than there are.
  void set_capacity(int owner, std::int64_t pages);

  const PageCounts& counts(int owner) const { return pools_.at(owner).counts; }
  const PageCounts& total() const { return total_; }
  /// Whichever page is in the slot now.
  PageRef in_slot(int owner, std::int32_t slot) const;

  /// The first count or free list that is not what the pages say, in words.
  std::optional<std::string> check() const;

 private:
  struct Pool {
    std::int64_t capacity = 0;
    std::int64_t in_use_when_cut = 0;  // over the capacity, only ever less
    PageCounts counts;
    std::vector<Page> pages;          // by slot
    std::vector<std::int32_t> empty;  // a stack: the page last freed may still be in cache
  };

  Page& page_at(PageRef ref);
  void settle(PageRef ref, const Page& before, Page& page);
  void count(Pool& pool, const Page& page, int by);

  std::vector<Pool> pools_;
  PageCounts total_;
  std::int64_t total_capacity_ = 0;
};

/// "page 3 of owner 1, generation 7"
std::string in_words(PageRef ref);

}  // namespace longspan
