#include "attention/prefill_strategies.h"

#include <algorithm>

#include "attention/all_gather_attention.h"
#include "attention/double_ring.h"
#include "attention/gather_query.h"
#include "attention/query_ring.h"
#include "attention/ring_attention.h"
#include "attention/scratch.h"
#include "attention/usp_attention.h"
#include "comm/error.h"

namespace longspan {
namespace {

std::int64_t scratch_values(const PlannedStrategy& plan, const HeadShape& shape,
                            const PrefillLimits& limits) {
  switch (plan.strategy) {
    case Strategy::kRing:
      return RingAttention::scratch_values(shape, limits);
    case Strategy::kQueryRing:
      return QueryRing::scratch_values(shape, limits);
    case Strategy::kAllGather:
      return AllGatherAttention::scratch_values(shape, limits);
    case Strategy::kGatherQuery:
      return GatherQuery::scratch_values(shape, limits);
    case Strategy::kUlysses:
      return UspAttention::scratch_values(shape, limits, limits.ranks);
    case Strategy::kUsp:
      return UspAttention::scratch_values(shape, limits, plan.inner);
    case Strategy::kDoubleRing:
      return DoubleRing::scratch_values(shape, limits, plan.inner);
  }
  __builtin_unreachable();
}

/// A rank alone reads its cached columns where they are.
std::int64_t own_values(const HeadShape& shape, const PrefillLimits& limits) {
  return area_values(limits.ranks > 1 ? limits.stream_values(shape)
                                      : limits.rows * shape.kv_values());
}

std::int64_t shared_scratch_values(const HeadShape& shape, const PrefillLimits& limits,
                                   StrategySet strategies) {
  std::int64_t most = 0;
  for (Strategy strategy : kStrategies) {
    if (!strategies.contains(strategy)) continue;
    const PlannedStrategy plan{strategy, strategies.inner(strategy)};
    most = std::max(most, scratch_values(plan, shape, limits));
  }
  return most;
}

}  // namespace

std::size_t PrefillStrategies::memory_bytes(const HeadShape& shape, const PrefillLimits& limits,
                                            StrategySet strategies) {
  return sizeof(float) *
         (own_values(shape, limits) + shared_scratch_values(shape, limits, strategies));
}

PrefillStrategies::PrefillStrategies(Device& device, AttentionKernels& kernels,
                                     const PrefillLimits& limits, StrategySet strategies) {
  const HeadShape& shape = kernels.shape();
  memory_.own = device.allocate(sizeof(float) * own_values(shape, limits));
  memory_.scratch =
      device.allocate(sizeof(float) * shared_scratch_values(shape, limits, strategies));
  memory_.kv_type = limits.kv_type;
  memory_.transfer = device.new_stream();
  const auto make = [&]<typename Attention>(Strategy strategy, std::type_identity<Attention>,
                                            auto... more) {
    if (!strategies.contains(strategy)) return;
    strategies_[static_cast<std::size_t>(strategy)] =
        std::make_unique<Attention>(device, kernels, memory_, more...);
  };
  make(Strategy::kRing, std::type_identity<RingAttention>());
  make(Strategy::kQueryRing, std::type_identity<QueryRing>());
  make(Strategy::kAllGather, std::type_identity<AllGatherAttention>());
  make(Strategy::kGatherQuery, std::type_identity<GatherQuery>());
  make(Strategy::kUlysses, std::type_identity<UspAttention>(), limits.ranks);  // one island
  make(Strategy::kUsp, std::type_identity<UspAttention>(), strategies.inner(Strategy::kUsp));
  make(Strategy::kDoubleRing, std::type_identity<DoubleRing>(),
       strategies.inner(Strategy::kDoubleRing));
}

PrefillAttention& PrefillStrategies::use(Strategy strategy) {
  const auto& one = strategies_[static_cast<std::size_t>(strategy)];
  expects(one != nullptr, "the job planned memory for the strategy it uses");
  return *one;
}

}  // namespace longspan
