// In which order the cached pages of each owner go when their memory is needed.
//
// Copies before what is there once, leaves of the prefix tree before pages that others build on,
// and among equals the one that was used least recently.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "scheduler/page_ref.h"

namespace longspan {

enum class EvictionClass {
  kCopy,   // the same page is elsewhere too
  kLeaf,   // no indexed page follows it
  kInner,  // what follows it goes with it
};

class EvictionOrder {
 public:
  explicit EvictionOrder(int owners) : pools_(owners) {}

  /// Files a page, or files it anew.
  void put(PageRef page, EvictionClass kind, std::uint64_t last_used);
  /// Nothing happens for a page that is not filed.
  void remove(PageRef page);
  void reclassify(PageRef page, EvictionClass kind);

  std::optional<PageRef> first(int owner) const;
  std::int64_t size(int owner) const { return std::ssize(pools_[owner].order); }
  /// How a page is filed.
  std::optional<EvictionClass> class_of(PageRef page) const;

 private:
  struct Place {
    EvictionClass kind;
    std::uint64_t last_used;
    PageRef page;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct Pool {
    std::set<Place> order;
    std::vector<std::optional<Place>> filed;  // by slot
  };

  std::vector<Pool> pools_;
};

}  // namespace longspan
