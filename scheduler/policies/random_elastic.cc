#include "scheduler/policies/random_elastic.h"

#include <algorithm>
#include <utility>

namespace longspan {

std::vector<WantedMove> RandomElastic::moves(const StepBorder& border) {
  if (border.full_pages == 0 || below(2) == 0) return {};
  const std::int64_t page = below(border.full_pages);
  return {{.page = page, .to = border.ranks[below(std::ssize(border.ranks))]}};
}

std::optional<std::vector<int>> RandomElastic::owners(const StepBorder& border) {
  const std::int64_t count = std::ssize(border.owners) - border.settled;
  enum Way { kStay, kInTurn, kOneAfterTheOther, kAnywhere, kWays };
  const auto way = static_cast<Way>(below(kWays));
  if (count == 0 || way == kStay) return std::nullopt;

  std::vector<std::int64_t> places(border.places.begin(), border.places.end());
  const auto has_room = [&](int rank) { return places[rank] > 0; };
  std::vector<int> wanted = some_of(border.ranks);
  std::vector<int> owners;
  for (std::int64_t page = 0; page < count; ++page) {
    // Who has no room is passed over; when nobody has that was wanted, all others are.
    std::erase_if(wanted, [&](int rank) { return !has_room(rank); });
    if (wanted.empty()) std::ranges::copy_if(border.ranks, std::back_inserter(wanted), has_room);
    const std::int64_t turn = way == kOneAfterTheOther ? 0
                              : way == kInTurn         ? page
                                                       : below(std::ssize(wanted));
    owners.push_back(wanted[turn % std::ssize(wanted)]);
    --places[owners.back()];
  }
  return owners;
}

std::vector<int> RandomElastic::group(const StepBorder& border) { return some_of(border.ranks); }

/// One at least, in any order.
std::vector<int> RandomElastic::some_of(std::span<const int> ranks) {
  std::vector<int> all(ranks.begin(), ranks.end());
  // std::shuffle() may differ from one standard library to the next.
  for (std::int64_t left = std::ssize(all); left > 1; --left) {
    std::swap(all[left - 1], all[below(left)]);
  }
  all.resize(1 + below(std::ssize(all)));
  return all;
}

}  // namespace longspan
