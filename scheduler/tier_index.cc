#include "scheduler/tier_index.h"

#include <stdexcept>

namespace longspan {

TierIndex::TierIndex(std::span<const std::int64_t> places) {
  for (const std::int64_t pages : places) pools_.emplace_back().places = pages;
}

std::optional<PageRef> TierIndex::find(const PageHash& hash) const {
  const auto found = by_hash_.find(hash);
  return found == by_hash_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<PageRef> TierIndex::chain(std::span<const PageHash> hashes) const {
  std::vector<PageRef> places;
  for (const PageHash& hash : hashes) {
    const auto place = find(hash);
    if (!place) break;
    places.push_back(*place);
  }
  return places;
}

std::optional<PageRef> TierIndex::put(const PageHash& hash, int owner) {
  if (by_hash_.contains(hash)) throw std::logic_error("a content that is kept is kept once");
  const auto slot = empty_slot(owner);
  if (!slot) return std::nullopt;
  Pool& pool = pools_[owner];
  Place& place = pool.used[*slot];
  place.hash = hash;
  place.keeps = true;
  place.last_used = ++uses_;
  ++pool.kept;
  pool.order.emplace(place.last_used, *slot);
  const PageRef ref{owner, *slot, place.generation};
  by_hash_.emplace(hash, ref);
  return ref;
}

std::optional<std::int32_t> TierIndex::empty_slot(int owner) {
  if (places(owner) == 0) return std::nullopt;
  Pool& pool = pools_[owner];
  if (pool.empty.empty() && std::ssize(pool.used) < pool.places) {
    pool.empty.push_back(static_cast<std::int32_t>(pool.used.size()));
    pool.used.emplace_back();
  }
  if (pool.empty.empty()) {
    if (pool.order.empty()) return std::nullopt;
    const std::int32_t oldest = pool.order.begin()->second;
    forget(pool, pool.used[oldest], oldest);
  }
  const std::int32_t slot = pool.empty.back();
  pool.empty.pop_back();
  return slot;
}

void TierIndex::touch(const PageHash& hash) {
  const PageRef at = by_hash_.at(hash);
  Pool& pool = pools_[at.owner];
  Place& place = pool.used[at.slot];
  const bool idle = pool.order.erase({place.last_used, at.slot}) > 0;
  place.last_used = ++uses_;
  if (idle) pool.order.emplace(place.last_used, at.slot);
}

void TierIndex::hold(PageRef ref) {
  Place* place = current(ref);
  if (!place || !place->keeps) throw std::logic_error("only a content that is kept is read");
  pools_[ref.owner].order.erase({place->last_used, ref.slot});
  ++place->readers;
}

void TierIndex::let_go(PageRef ref) {
  Place* place = current(ref);
  if (!place || place->readers == 0) throw std::logic_error("nobody reads the place");
  if (--place->readers > 0) return;
  Pool& pool = pools_[ref.owner];
  if (place->keeps) {
    pool.order.emplace(place->last_used, ref.slot);
  } else {
    vacate(pool, ref.slot);
  }
}

bool TierIndex::drop(PageRef ref) {
  Place* place = current(ref);
  if (!place || !place->keeps) return false;
  forget(pools_[ref.owner], *place, ref.slot);
  return true;
}

void TierIndex::forget(Pool& pool, Place& place, std::int32_t slot) {
  pool.order.erase({place.last_used, slot});
  by_hash_.erase(place.hash);
  place.keeps = false;
  --pool.kept;
  if (place.readers == 0) vacate(pool, slot);
}

void TierIndex::vacate(Pool& pool, std::int32_t slot) {
  ++pool.used[slot].generation;
  pool.empty.push_back(slot);
}

TierIndex::Place* TierIndex::current(PageRef ref) {
  if (ref.owner < 0 || ref.owner >= std::ssize(pools_)) return nullptr;
  std::vector<Place>& used = pools_[ref.owner].used;
  if (ref.slot < 0 || ref.slot >= std::ssize(used)) return nullptr;
  Place& place = used[ref.slot];
  return place.generation == ref.generation ? &place : nullptr;
}

std::int64_t TierIndex::kept(int owner) const {
  return owner < std::ssize(pools_) ? pools_[owner].kept : 0;
}

std::int64_t TierIndex::places(int owner) const {
  return owner < std::ssize(pools_) ? pools_[owner].places : 0;
}

std::optional<std::string> TierIndex::check() const {
  std::int64_t kept = 0;
  for (int owner = 0; owner < std::ssize(pools_); ++owner) {
    const Pool& pool = pools_[owner];
    if (std::ssize(pool.used) > pool.places) return "the tier has more places than there are";
    std::int64_t here = 0, idle = 0, empty = 0;
    for (std::int32_t slot = 0; slot < std::ssize(pool.used); ++slot) {
      const Place& place = pool.used[slot];
      here += place.keeps;
      idle += place.keeps && place.readers == 0;
      empty += !place.keeps && place.readers == 0;
      const PageRef ref{owner, slot, place.generation};
      if (place.keeps && find(place.hash) != ref) return "a content of the tier cannot be found";
      if (pool.order.contains({place.last_used, slot}) != (place.keeps && place.readers == 0)) {
        return "a place of the tier is filed wrongly";
      }
    }
    if (here != pool.kept || idle != std::ssize(pool.order) || empty != std::ssize(pool.empty)) {
      return "the counts of the tier are not those of its places";
    }
    kept += here;
  }
  if (kept != this->kept()) return "the tier names a content that is not there";
  return std::nullopt;
}

}  // namespace longspan
