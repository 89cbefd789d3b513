#include "scheduler/placement.h"

#include <algorithm>

namespace longspan {
namespace {

std::optional<std::vector<int>> spread(std::span<const int> group, std::int64_t pages,
                                       std::vector<std::int64_t> free, SpreadOrder order,
                                       std::int64_t first) {
  const std::int64_t size = std::ssize(group);
  std::vector<int> owners;
  for (std::int64_t page = first; page < pages; ++page) {
    const int owner = group[place_in_turn(order, page, size)];
    if (free[owner]-- == 0) return std::nullopt;
    owners.push_back(owner);
  }
  return owners;
}

/// Taking ranks by free pages, most first, needs the fewest; equals in group order.
std::optional<std::vector<int>> fewest(std::span<const int> group, std::int64_t pages,
                                       const std::vector<std::int64_t>& free) {
  std::vector<int> by_room(group.begin(), group.end());
  std::ranges::stable_sort(by_room, [&](int a, int b) { return free[a] > free[b]; });
  std::vector<int> owners;
  for (int rank : by_room) {
    const std::int64_t take = std::min(free[rank], pages - std::ssize(owners));
    owners.insert(owners.end(), take, rank);
  }
  if (std::ssize(owners) < pages) return std::nullopt;
  return owners;
}

}  // namespace

std::optional<Retention> parse_retention(std::string_view name) {
  if (name == "spread") return Retention::kSpread;
  if (name == "fewest") return Retention::kFewest;
  return std::nullopt;
}

std::optional<std::vector<int>> place_pages(Retention keep, std::span<const int> group,
                                            std::int64_t pages,
                                            const std::vector<std::int64_t>& free,
                                            SpreadOrder order, std::int64_t first) {
  switch (keep) {
    case Retention::kSpread:
      return spread(group, pages, free, order, first);
    case Retention::kFewest:
      return fewest(group, pages - first, free);
  }
  return std::nullopt;
}

}  // namespace longspan
