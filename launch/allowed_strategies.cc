#include "launch/allowed_strategies.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "attention/divisors.h"
#include "attention/usable_strategies.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

PlannedStrategy with_ulysses_degree(int wanted, const SplitSetting& setting) {
  std::vector<int> usable;
  for (const PlannedStrategy& plan : usable_plans(Strategy::kUsp, setting)) {
    if (plan.inner == wanted) return plan;
    usable.push_back(plan.inner);
  }
  std::ranges::sort(usable);
  throw UsageError(
      str("--ulysses-degree {} does not divide {} ranks and {} query heads into rings; "
          "usable: {}",
          wanted, setting.degree(), setting.heads.query_heads, fmt::join(usable, " ")));
}

PlannedStrategy with_ring_shape(const RingShape& shape, int degree) {
  if (shape.outer * shape.inner == degree) return {Strategy::kDoubleRing, shape.inner};
  std::vector<std::string> usable;
  for (int inner : divisors(degree)) usable.push_back(str("{}x{}", degree / inner, inner));
  throw UsageError(str("--ring-shape {}x{} is {} ranks, but {} share the sequence; usable: {}",
                       shape.outer, shape.inner, shape.outer * shape.inner, degree,
                       fmt::join(usable, " ")));
}

/// Of each strategy that may be used the most promising plan. Alone, all are the same.
std::vector<PlannedStrategy> all_plans(const SplitSetting& setting) {
  if (setting.degree() == 1) return {PlannedStrategy{}};
  std::vector<PlannedStrategy> plans;
  for (const UsableStrategy& usable : usable_strategies(setting)) {
    if (!usable.refusal) plans.push_back(usable.plan);
  }
  return plans;
}

/// Those that are legal for any number of ranks in any order, wherever pages are.
std::vector<PlannedStrategy> for_any_ranks(const GenerateOptions& options,
                                           const SplitSetting& setting) {
  std::vector<PlannedStrategy> plans = all_plans(setting);
  std::erase_if(plans, [&](const PlannedStrategy& plan) {
    const bool asked_for = !options.strategy || plan.strategy == *options.strategy;
    return plan.strategy == Strategy::kDoubleRing || !asked_for;
  });
  if (!plans.empty() && !options.ring_shape && !options.ulysses_degree) return plans;
  throw UsageError(
      "--policy random_elastic takes any number of ranks; use --strategy ring, "
      "all-gather or auto");
}

}  // namespace

std::vector<PlannedStrategy> allowed_strategies(const GenerateOptions& options,
                                                const HeadShape& heads, std::vector<int> hosts) {
  const SplitSetting setting{
      .heads = heads,
      .layout = options.layout,
      .block = *options.page_tokens,
      .page_tokens = *options.page_tokens,
      .spread = options.keep == Retention::kSpread && !options.random_elastic,
      .hosts = std::move(hosts)};
  if (options.random_elastic && setting.degree() > 1) return for_any_ranks(options, setting);
  if (options.ring_shape) return {with_ring_shape(*options.ring_shape, setting.degree())};
  if (!options.strategy) return all_plans(setting);
  const PlannedStrategy plan = forced_plan(*options.strategy, setting);
  if (options.ulysses_degree) return {with_ulysses_degree(*options.ulysses_degree, setting)};
  return {plan};
}

}  // namespace longspan
