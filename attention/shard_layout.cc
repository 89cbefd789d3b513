#include "attention/shard_layout.h"

#include <algorithm>
#include <array>
#include <utility>

#include "comm/error.h"

namespace longspan {
namespace {

constexpr std::array<std::pair<Layout, std::string_view>, 5> kNames{{
    {Layout::kBlockCyclic, "block-cyclic"},
    {Layout::kStriped, "striped"},
    {Layout::kZigzag, "zigzag"},
    {Layout::kContiguous, "contiguous"},
    {Layout::kFolded, "folded"},
}};

void append(std::vector<PositionRun>& runs, const PositionRun& run) {
  if (run.count > 0) runs.push_back(run);
}

PositionRun solid(std::int64_t begin, std::int64_t end) {
  return {.first = begin, .block = 1, .stride = 1, .count = end - begin};
}

/// Piece `index` of `pieces`. Rounding both borders down keeps the pieces disjoint and complete,
/// and their sizes within one token, whatever `count` is.
PositionRun piece(const Deal& deal, std::int64_t index, std::int64_t pieces) {
  return solid(deal.first + index * deal.count / pieces,
               deal.first + (index + 1) * deal.count / pieces);
}

/// The blocks of `rank` from `border` on, a multiple of `block`.
PositionRun cyclic(std::int64_t border, std::int64_t end, std::int64_t block, int ranks, int rank) {
  const std::int64_t stride = block * ranks;
  const std::int64_t blocks_ahead = (rank + ranks - border / block % ranks) % ranks;
  const std::int64_t first = border + blocks_ahead * block;
  const std::int64_t span = std::max<std::int64_t>(end - first, 0);
  const std::int64_t count = span / stride * block + std::min(span % stride, block);
  return {.first = first, .block = block, .stride = stride, .count = count};
}

std::vector<PositionRun> deal_cyclic(const Deal& deal, std::int64_t block, int ranks, int rank) {
  const std::int64_t end = deal.first + deal.count;
  const std::int64_t border = std::min((deal.first + block - 1) / block * block, end);
  std::vector<PositionRun> runs;
  // The block that the previous step left unfinished stays with its owner.
  if (deal.first / block % ranks == rank) append(runs, solid(deal.first, border));
  // Without this test a step that ends inside its first block would deal from a false border.
  if (border < end) append(runs, cyclic(border, end, block, ranks, rank));
  return runs;
}

std::vector<PositionRun> deal_folded(const Deal& deal, int rank) {
  const int ranks = 2 * deal.ranks;
  std::vector<PositionRun> runs = deal_cyclic(deal, deal.block, ranks, rank);
  for (const PositionRun& run : deal_cyclic(deal, deal.block, ranks, ranks - 1 - rank)) {
    runs.push_back(run);
  }
  std::ranges::sort(runs, {}, &PositionRun::first);
  return runs;
}

std::vector<PositionRun> deal_zigzag(const Deal& deal, int rank) {
  const int pieces = 2 * deal.ranks;
  std::vector<PositionRun> runs;
  append(runs, piece(deal, rank, pieces));
  append(runs, piece(deal, pieces - 1 - rank, pieces));
  return runs;
}

std::vector<PositionRun> deal_contiguous(const Deal& deal, int rank) {
  std::vector<PositionRun> runs;
  append(runs, piece(deal, rank, deal.ranks));
  return runs;
}

}  // namespace

std::optional<Layout> parse_layout(std::string_view name) {
  for (const auto& [layout, word] : kNames) {
    if (word == name) return layout;
  }
  return std::nullopt;
}

std::string_view name(Layout layout) {
  return std::ranges::find(kNames, layout, &decltype(kNames)::value_type::first)->second;
}

std::vector<PositionRun> shard(const Deal& deal, int rank) {
  expects(deal.first >= 0 && deal.count >= 0, "a step has no negative positions");
  expects(deal.ranks >= 1 && rank >= 0 && rank < deal.group_size(),
          "rank is one of the step's ranks");
  expects(deal.block >= 1, "a block holds a token");
  if (rank >= deal.ranks) return {};
  switch (deal.layout) {
    case Layout::kBlockCyclic:
      return deal_cyclic(deal, deal.block, deal.ranks, rank);
    case Layout::kStriped:
      return deal_cyclic(deal, 1, deal.ranks, rank);
    case Layout::kZigzag:
      return deal_zigzag(deal, rank);
    case Layout::kContiguous:
      return deal_contiguous(deal, rank);
    case Layout::kFolded:
      return deal_folded(deal, rank);
  }
  __builtin_unreachable();
}

std::int64_t token_count(const std::vector<PositionRun>& runs) {
  std::int64_t tokens = 0;
  for (const PositionRun& run : runs) tokens += run.count;
  return tokens;
}

}  // namespace longspan
