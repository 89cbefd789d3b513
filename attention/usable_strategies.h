// Which strategies a group may use at all, whatever the chunk: what heads, degree, layout, pages
// and retention allow. A forced strategy is checked here before a model is loaded.
//
// Strategies that do not pass keys on need the *identity*: each new token's KV stays with the rank
// that computes it. It exists where compute blocks are pages and pages are spread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attention/segment.h"
#include "attention/shard_layout.h"
#include "attention/strategy.h"

namespace longspan {

/// What holds for every chunk of a request.
struct SplitSetting {
  HeadShape heads;
  Layout layout = Layout::kBlockCyclic;
  std::int64_t block = 16;                // of the block-cyclic layout, tokens
  std::int64_t page_tokens = 16;          // of storage
  bool spread = true;                     // page p is kept by rank p mod degree of the group
  std::vector<int> hosts;                 // for each rank of the group: a number for its host
  bool beside_kernels = false;            // as Communicator::moves_beside_kernels
  KvType new_columns = KvType::kFloat32;  // as AttentionKernels::new_columns

  int degree() const { return static_cast<int>(hosts.size()); }
};

/// Ranks of the group per host if every host has as many and they come host by host, else 0.
int ranks_per_host(const std::vector<int>& hosts);

/// Whether the setting promises the identity for every chunk.
bool promises_identity(const SplitSetting& setting);

/// Whether one chunk has it: every new token is computed by the owner of its page. `owners`: of
/// each page, as an index of the group, at least up to the chunk's end.
bool has_identity(const Deal& deal, std::int64_t page_tokens, std::span<const int> owners);

/// One line, with the values that would be legal, or nothing if `strategy` may be used.
std::optional<std::string> refusal(Strategy strategy, const SplitSetting& setting);

/// The ways to divide the group for `strategy`, the most promising first; none if it is refused.
/// Usp: head exchanges inside a host if heads and hosts allow.
std::vector<PlannedStrategy> usable_plans(Strategy strategy, const SplitSetting& setting);

struct UsableStrategy {
  PlannedStrategy plan;
  std::optional<std::string> refusal;
};

/// All strategies, in the order of kStrategies.
std::vector<UsableStrategy> usable_strategies(const SplitSetting& setting);

/// The most promising plan of a strategy that a user asked for. Throws UsageError with the refusal.
PlannedStrategy forced_plan(Strategy strategy, const SplitSetting& setting);

}  // namespace longspan
