#include "scheduler/prefix_choice.h"

#include <algorithm>
#include <vector>

namespace longspan {

PrefixChoice choose_prefix(std::span<const PrefixOffer> offers, const Policy& policy) {
  std::vector<GroupLoad> loads;
  std::int64_t most = 0;
  for (const PrefixOffer& offer : offers) {
    const std::int64_t added =
        offer.copies_pay() ? offer.copies->copying + offer.copies->own : offer.own;
    loads.push_back({offer.group, offer.outstanding, added});
    most = std::max({most, offer.has, offer.copies ? offer.copies->has : 0});
  }
  PrefixChoice choice{.group = policy.group_for(loads)};
  const PrefixOffer& chosen = *std::ranges::find(offers, choice.group, &PrefixOffer::group);
  if (chosen.copies_pay()) {
    choice.way = PrefixWay::kReplicate;
  } else if (most > 0) {
    choice.way = chosen.has == most ? PrefixWay::kJoin : PrefixWay::kRecompute;
  }
  return choice;
}

}  // namespace longspan
