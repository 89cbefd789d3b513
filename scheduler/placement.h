// Where the pages of a sequence are kept: all it can ever need, for its prompt and its answer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace longspan {

enum class Retention {
  kSpread,  // page by page over the group: memory and decode work are shared evenly
  kFewest,  // on as few ranks as hold them: decode then stays there and sends little or nothing
};

/// Pages that hold `tokens` positions.
constexpr std::int64_t pages_for(std::int64_t tokens, std::int64_t page_tokens) {
  return (tokens + page_tokens - 1) / page_tokens;
}

/// The order in which pages are spread over ranks 0, 1, ... of a group.
enum class SpreadOrder {
  kCyclic,  // 0 1 2 | 0 1 2 | ...      as the block-cyclic layout computes them
  kFolded,  // 0 1 2 2 1 0 | 0 1 2 ...  as the folded layout does
};

/// Which of a group's `size` ranks has page `page` where pages are spread.
constexpr std::int64_t place_in_turn(SpreadOrder order, std::int64_t page, std::int64_t size) {
  const std::int64_t there_and_back = page % (2 * size);
  return order == SpreadOrder::kCyclic ? page % size
                                       : std::min(there_and_back, 2 * size - 1 - there_and_back);
}

/// "spread", "fewest"; nothing for another word.
std::optional<Retention> parse_retention(std::string_view name);

/// The owner (world rank) of each of `pages` pages from the `first` on, or nothing when a rank
/// whose turn it is, or the group as a whole, has too few. `free`: free pages by world rank.
std::optional<std::vector<int>> place_pages(Retention keep, std::span<const int> group,
                                            std::int64_t pages,
                                            const std::vector<std::int64_t>& free,
                                            SpreadOrder order = SpreadOrder::kCyclic,
                                            std::int64_t first = 0);

}  // namespace longspan
