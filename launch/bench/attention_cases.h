// The chunks that `longspan bench attention` measures: by size and layout, how the ranks share
// them, in which ways they may, and what an even share of them would be.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/choose_strategy.h"
#include "attention/prefill_attention.h"
#include "attention/split_chunk.h"
#include "launch/bench/bench_options.h"
#include "launch/bench/random_cases.h"

namespace longspan {

/// One chunk as its ranks share it. Its pages are spread over them as the engine spreads them.
struct AttentionCase {
  AskedChunk size;
  Deal deal;
  std::vector<int> owners;  // of all pages, as indices of the group
  SplitSetting setting;
  SplitShape shape;
  /// Legal, and asked for; one at least. Each way in which a strategy divides the ranks is one, the
  /// most promising first.
  std::vector<PlannedStrategy> plans;

  /// What the chooser is asked: about `plans`, of a strategy the most promising, as the engine.
  StrategyQuestion question() const;
  /// One of `plans`: what the chooser takes, or where it drops all that were asked for, the first.
  StrategyChoice choice(const MachineRates& rates) const;
  /// This rank's storage; `slots`: of its pool, as many as it owns pages at least.
  SequenceStorage storage(int rank, const std::vector<std::int32_t>& slots) const;
};

/// The sizes that the options ask for, in order.
std::vector<AskedChunk> chunk_sizes(const BenchAttentionOptions& options);

/// All sizes, each by every layout, over as many ranks as `hosts` has numbers of hosts. Blocks of
/// the layouts are whole pages, so that strategies that need it keep each new key where it is
/// computed. A strategy that was named is left out where the layout forbids it. Throws UsageError
/// with the reason when a layout leaves none.
std::vector<AttentionCase> attention_cases(const BenchAttentionOptions& options,
                                           const std::vector<int>& hosts);

/// One rank's even share of a chunk's pairs, were it to compute them alone: so many rows behind so
/// many cached columns, none behind none where there are fewer rows than ranks.
AskedChunk even_share(const AskedChunk& chunk, int rank, int ranks);

/// Pairs of a row and a key that it sees.
double visible_pairs(const AskedChunk& chunk);

/// The memory that all cases need together.
struct AttentionRoom {
  PrefillLimits limits;  // of the group
  PrefillLimits alone;   // of an even share
  /// Of all cases: as many as there are ways in which one strategy divides the ranks.
  std::vector<StrategySet> strategies;
  std::int64_t pages = 0;  // of one rank
};
AttentionRoom room_for(const std::vector<AttentionCase>& cases);

}  // namespace longspan
