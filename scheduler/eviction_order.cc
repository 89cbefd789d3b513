#include "scheduler/eviction_order.h"

namespace longspan {

void EvictionOrder::put(PageRef page, EvictionClass kind, std::uint64_t last_used) {
  remove(page);
  Pool& pool = pools_[page.owner];
  if (page.slot >= std::ssize(pool.filed)) pool.filed.resize(page.slot + 1);
  pool.filed[page.slot] = Place{kind, last_used, page};
  pool.order.insert(*pool.filed[page.slot]);
}

void EvictionOrder::remove(PageRef page) {
  if (!class_of(page)) return;
  Pool& pool = pools_[page.owner];
  pool.order.erase(*pool.filed[page.slot]);
  pool.filed[page.slot].reset();
}

void EvictionOrder::reclassify(PageRef page, EvictionClass kind) {
  const std::optional<EvictionClass> filed = class_of(page);
  if (filed && *filed != kind) put(page, kind, pools_[page.owner].filed[page.slot]->last_used);
}

std::optional<PageRef> EvictionOrder::first(int owner) const {
  const std::set<Place>& order = pools_[owner].order;
  if (order.empty()) return std::nullopt;
  return order.begin()->page;
}

std::optional<EvictionClass> EvictionOrder::class_of(PageRef page) const {
  const auto& filed = pools_[page.owner].filed;
  if (page.slot >= std::ssize(filed) || !filed[page.slot]) return std::nullopt;
  if (filed[page.slot]->page != page) return std::nullopt;
  return filed[page.slot]->kind;
}

}  // namespace longspan
