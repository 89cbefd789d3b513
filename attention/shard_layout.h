// Which new positions each rank of a group computes.
//
// A shard is a short list of runs. For 8 tokens on 2 ranks, pages of 2:
//
//   contiguous    r0: 0 1 2 3     r1: 4 5 6 7     r1 does most of the causal work
//   zigzag        r0: 0 1 6 7     r1: 2 3 4 5     a cheap and a dear piece each
//   striped       r0: 0 2 4 6     r1: 1 3 5 7     every tile is half masked
//   block-cyclic  r0: 0 1 4 5     r1: 2 3 6 7     page p on rank p mod 2: even to within a page
//   folded        r0: 0 1 6 7     r1: 2 3 4 5     zigzag's balance, page by page
//
// Everything else asks only positions, so there is one ring loop for all of them. A layout governs
// the new tokens of one step; where their KV is stored is the page table's business.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace longspan {

/// Positions first, first+1, ... in blocks of `block`, block starts `stride` apart:
///   position(i) = first + (i div block) * stride + i mod block        stride >= block >= 1
/// They increase with i, so the positions up to q are always a prefix of the run. What kernels ask
/// is constexpr, so that it runs on a GPU too.
struct PositionRun {
  std::int64_t first = 0;
  std::int64_t block = 1;
  std::int64_t stride = 1;
  std::int64_t count = 0;

  constexpr std::int64_t position(std::int64_t i) const {
    return first + (i / block) * stride + i % block;
  }
  constexpr std::int64_t last() const { return position(count - 1); }
  /// How many of the run's positions are <= `query`: the columns a causal query sees.
  constexpr std::int64_t visible(std::int64_t query) const {
    if (query < first) return 0;
    const std::int64_t blocks = (query - first) / stride;
    const std::int64_t offset = (query - first) % stride;
    return std::min(count, blocks * block + std::min(offset + 1, block));
  }
};

/// [begin, end)
struct Interval {
  std::int64_t begin;
  std::int64_t end;
};

/// The columns of `run` whose positions lie in `positions`.
constexpr Interval columns(const PositionRun& run, Interval positions) {
  return {run.visible(positions.begin - 1), run.visible(positions.end - 1)};
}

enum class Layout { kBlockCyclic, kStriped, kZigzag, kContiguous, kFolded };

/// "block-cyclic", ...; nothing for another word.
std::optional<Layout> parse_layout(std::string_view name);
std::string_view name(Layout layout);

/// The new tokens of one step, to be dealt to `ranks`.
struct Deal {
  Layout layout = Layout::kBlockCyclic;
  std::int64_t first = 0;  // position of the first new token
  std::int64_t count = 0;  // new tokens
  int ranks = 1;
  std::int64_t block = 16;  // block-cyclic and folded: tokens per block
  int holders = 0;          // further ranks of the group, behind those: they compute nothing

  int group_size() const { return ranks + holders; }
};

/// The runs that `rank` of the group computes, by first position; none if it computes nothing. Over
/// all ranks they cover [first, first + count) exactly once. Only those of the folded layout
/// interleave.
///
/// Block-cyclic and striped deal by absolute position: t is on rank (t div block) mod ranks. So
/// does folded, over 2N virtual ranks of which rank r computes r and 2N - 1 - r. A step that starts
/// inside a block puts the rest of that block in a run of its own. Zigzag and contiguous cut the
/// step's tokens into 2N or N pieces whose sizes differ by at most one.
std::vector<PositionRun> shard(const Deal& deal, int rank);

/// Tokens in `runs`.
std::int64_t token_count(const std::vector<PositionRun>& runs);

}  // namespace longspan
