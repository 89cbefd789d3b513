#include "scheduler/page_slots.h"

#include <algorithm>
#include <stdexcept>

namespace longspan {
namespace {

using enum PageState;

bool may_follow(PageState from, PageState to) {
  switch (from) {
    case kFree:
      return to == kReserved;
    case kReserved:
      return to == kLive || to == kCached || to == kFree;
    case kLive:
      return to == kCached || to == kRetired || to == kFree;
    case kCached:
      return to == kLive || to == kRetired || to == kFree;
    case kRetired:
      return to == kFree;
  }
  return false;
}

/// Memory that neither a promise nor the headroom covers and that no eviction brings back.
bool is_pinned(const Page& page) {
  return (page.state == kCached && page.leases > 0) || (page.state == kRetired && !page.of_move);
}

void add(PageCounts& counts, const Page& page, int by) {
  counts.in[static_cast<int>(page.state)] += by;
  counts.pinned += is_pinned(page) ? by : 0;
  counts.of_moves += page.of_move ? by : 0;
}

}  // namespace

std::string in_words(PageRef ref) {
  return "page " + std::to_string(ref.slot) + " of owner " + std::to_string(ref.owner) +
         ", generation " + std::to_string(ref.generation);
}

std::int64_t PageCounts::used() const { return at(kLive) + at(kCached) + at(kRetired); }

PageSlots::PageSlots(std::span<const std::int64_t> capacity) {
  for (const std::int64_t slots : capacity) {
    Pool& pool = pools_.emplace_back();
    pool.capacity = slots;
    pool.pages.resize(slots);
    for (std::int64_t slot = slots; slot-- > 0;)
      pool.empty.push_back(static_cast<std::int32_t>(slot));
    pool.counts.in[static_cast<int>(kFree)] = slots;
    total_.in[static_cast<int>(kFree)] += slots;
    total_capacity_ += slots;
  }
}

const Page* PageSlots::find(PageRef ref) const {
  if (ref.owner < 0 || ref.owner >= owners()) return nullptr;
  const std::vector<Page>& pages = pools_[ref.owner].pages;
  if (ref.slot < 0 || ref.slot >= std::ssize(pages)) return nullptr;
  const Page& page = pages[ref.slot];
  return page.generation == ref.generation && page.state != kFree ? &page : nullptr;
}

const Page& PageSlots::at(PageRef ref) const {
  const Page* page = find(ref);
  if (!page) throw std::logic_error(in_words(ref) + " is not there any more");
  return *page;
}

Page& PageSlots::page_at(PageRef ref) {
  (void)at(ref);  // throws
  return pools_[ref.owner].pages[ref.slot];
}

PageRef PageSlots::take(int owner) {
  if (room(owner) == 0) throw std::logic_error("owner " + std::to_string(owner) + " has no room");
  Pool& pool = pools_[owner];
  const std::int32_t slot = pool.empty.back();
  pool.empty.pop_back();
  Page& page = pool.pages[slot];
  count(pool, page, -1);
  page.state = kReserved;
  count(pool, page, +1);
  return {owner, slot, page.generation};
}

void PageSlots::settle(PageRef ref, const Page& before, Page& page) {
  if (page.state != before.state && !may_follow(before.state, page.state)) {
    throw std::logic_error(in_words(ref) + " cannot go from " + name_of(before.state) + " to " +
                           name_of(page.state));
  }
  if (page.refs < 0 || page.leases < 0 || (page.refs > 0) != (page.state == kLive)) {
    throw std::logic_error(in_words(ref) + " is " + name_of(page.state) + " with " +
                           std::to_string(page.refs) + " references");
  }
  if (page.state == kFree && (page.leases > 0 || page.indexed || page.move != 0)) {
    throw std::logic_error(in_words(ref) + " is freed while something reads it");
  }
  Pool& pool = pools_[ref.owner];
  count(pool, before, -1);
  if (page.state == kFree) {
    page = Page{.generation = before.generation + 1};
    pool.empty.push_back(ref.slot);
  }
  count(pool, page, +1);
  pool.in_use_when_cut = std::min(pool.in_use_when_cut, pool.counts.in_use());
}

void PageSlots::count(Pool& pool, const Page& page, int by) {
  add(pool.counts, page, by);
  add(total_, page, by);
}

std::int64_t PageSlots::room(int owner) const {
  return std::max<std::int64_t>(0, capacity(owner) - counts(owner).in_use());
}

void PageSlots::set_capacity(int owner, std::int64_t pages) {
  if (pages < 0 || pages > slots(owner)) {
    throw std::logic_error("owner " + std::to_string(owner) + " has " +
                           std::to_string(slots(owner)) + " slots, not " + std::to_string(pages));
  }
  total_capacity_ += pages - std::exchange(pools_[owner].capacity, pages);
  pools_[owner].in_use_when_cut = pools_[owner].counts.in_use();
}

PageRef PageSlots::in_slot(int owner, std::int32_t slot) const {
  return {owner, slot, pools_[owner].pages[slot].generation};
}

std::optional<std::string> PageSlots::check() const {
  PageCounts sum;
  std::int64_t capacity = 0;
  for (int owner = 0; owner < owners(); ++owner) {
    const Pool& pool = pools_[owner];
    const std::string whose = "owner " + std::to_string(owner);
    PageCounts counts;
    for (const Page& page : pool.pages) {
      add(counts, page, 1);
      add(sum, page, 1);
    }
    capacity += pool.capacity;
    if (counts != pool.counts) return "I1: the counts of " + whose + " are not those of its pages";
    if (counts.in_use() > std::max(pool.capacity, pool.in_use_when_cut)) {
      return "I2: " + whose + " has " + std::to_string(counts.in_use()) + " pages in use of " +
             std::to_string(pool.capacity);
    }
    std::vector<bool> listed(pool.pages.size());
    for (const std::int32_t slot : pool.empty) {
      if (listed[slot] || pool.pages[slot].state != kFree) {
        return "I1: slot " + std::to_string(slot) + " of " + whose + " is no free one, or is twice";
      }
      listed[slot] = true;
    }
    if (std::ssize(pool.empty) != counts.at(kFree)) {
      return "I1: a free slot of " + whose + " is not in its list";
    }
  }
  if (sum != total_ || capacity != total_capacity_) return "I1: totals are not the sum of owners";
  return std::nullopt;
}

}  // namespace longspan
