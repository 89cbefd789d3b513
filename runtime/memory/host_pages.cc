#include "runtime/memory/host_pages.h"

#include <algorithm>

#include "comm/error.h"

namespace longspan {

std::optional<Bytes> HostPages::keep(std::int32_t slot, Bytes page) {
  const std::optional<Bytes> before = remove(slot);
  by_slot_.emplace(slot, order_.insert(order_.end(), {slot, page}));
  return before;
}

std::optional<Bytes> HostPages::find(std::int32_t slot) const {
  const auto kept = by_slot_.find(slot);
  return kept == by_slot_.end() ? std::nullopt : std::optional(kept->second->page);
}

std::optional<Bytes> HostPages::remove(std::int32_t slot) {
  const auto kept = by_slot_.find(slot);
  if (kept == by_slot_.end()) return std::nullopt;
  const Bytes page = kept->second->page;
  order_.erase(kept->second);
  by_slot_.erase(kept);
  return page;
}

std::optional<HostPages::Kept> HostPages::take_oldest() {
  const auto found = oldest();
  if (found == order_.end()) return std::nullopt;
  const Kept kept = *found;
  remove(kept.slot);
  return kept;
}

/// Those that are held were used last, so few of them are passed over.
HostPages::Order::const_iterator HostPages::oldest() const {
  return std::ranges::find_if(order_, [&](const Kept& kept) { return !held_.contains(kept.slot); });
}

void HostPages::hold(std::int32_t slot) {
  ++held_[slot];
  use(slot);
}

void HostPages::let_go(std::int32_t slot) {
  const auto held = held_.find(slot);
  expects(held != held_.end(), "what is let go was held");
  if (--held->second == 0) held_.erase(held);
  use(slot);
}

void HostPages::use(std::int32_t slot) {
  const auto kept = by_slot_.find(slot);
  if (kept != by_slot_.end()) order_.splice(order_.end(), order_, kept->second);
}

}  // namespace longspan
