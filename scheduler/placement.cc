#include "scheduler/placement.h"

#include <algorithm>
#include <numeric>

namespace longspan {
namespace {

std::vector<int> spread(std::span<const int> group, std::int64_t pages,
                        std::vector<std::int64_t>& free) {
  std::vector<int> owners;
  for (std::int64_t page = 0; page < pages; ++page) {
    std::size_t turn = page % group.size();
    while (free[group[turn]] == 0) turn = (turn + 1) % group.size();
    --free[group[turn]];
    owners.push_back(group[turn]);
  }
  return owners;
}

/// Fullest use of the emptiest ranks: taking them by free pages, most first, needs the fewest.
/// The last one taken is the fullest that still holds the rest, which leaves the emptiest whole.
std::vector<int> fewest(std::span<const int> group, std::int64_t pages,
                        const std::vector<std::int64_t>& free) {
  std::vector<int> by_room(group.begin(), group.end());
  std::ranges::stable_sort(by_room, [&](int a, int b) { return free[a] > free[b]; });
  std::vector<int> owners;
  for (int rank : by_room) {
    const std::int64_t take = std::min(free[rank], pages - std::ssize(owners));
    owners.insert(owners.end(), take, rank);
  }
  return owners;
}

}  // namespace

std::optional<Retention> parse_retention(std::string_view name) {
  if (name == "spread") return Retention::kSpread;
  if (name == "fewest") return Retention::kFewest;
  return std::nullopt;
}

std::optional<std::vector<int>> place_pages(Retention keep, std::span<const int> group,
                                            std::int64_t pages, std::vector<std::int64_t> free) {
  std::int64_t room = 0;
  for (int rank : group) room += free[rank];
  if (room < pages) return std::nullopt;
  switch (keep) {
    case Retention::kSpread:
      return spread(group, pages, free);
    case Retention::kFewest:
      return fewest(group, pages, free);
  }
  return std::nullopt;
}

}  // namespace longspan
