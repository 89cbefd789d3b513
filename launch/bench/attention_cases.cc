#include "launch/bench/attention_cases.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "comm/error.h"
#include "comm/str.h"
#include "scheduler/placement.h"

namespace longspan {
namespace {

std::vector<int> spread_pages(std::int64_t tokens, std::int64_t page_tokens, Layout layout,
                              int ranks) {
  std::vector<int> group(ranks);
  std::iota(group.begin(), group.end(), 0);
  const std::int64_t pages = pages_for(tokens, page_tokens);
  const auto order = layout == Layout::kFolded ? SpreadOrder::kFolded : SpreadOrder::kCyclic;
  const auto owners =
      place_pages(Retention::kSpread, group, pages, std::vector<std::int64_t>(ranks, pages), order);
  expects(owners.has_value(), "every rank has room for all pages");
  return *owners;
}

/// Alone, all strategies are the same.
std::vector<Strategy> asked_for(const StrategyWish& wish, int ranks) {
  if (!wish.named.empty()) return wish.named;
  if (ranks == 1) return {Strategy::kRing};
  return {kStrategies.begin(), kStrategies.end()};
}

std::vector<PlannedStrategy> legal_plans(const StrategyWish& wish, const SplitSetting& setting) {
  std::vector<PlannedStrategy> plans;
  const std::vector<Strategy> asked = asked_for(wish, setting.degree());
  for (Strategy strategy : asked) {
    std::ranges::copy(usable_plans(strategy, setting), std::back_inserter(plans));
  }
  if (plans.empty()) {
    throw UsageError(str("--strategy leaves nothing to measure with --layout {}: {}",
                         name(setting.layout), *refusal(asked.front(), setting)));
  }
  return plans;
}

AttentionCase make_case(const AskedChunk& size, const BenchAttentionOptions& options, Layout layout,
                        const std::vector<int>& hosts) {
  AttentionCase one;
  const int ranks = static_cast<int>(hosts.size());
  one.size = size;
  one.deal = {.layout = layout,
              .first = size.cached,
              .count = size.tokens,
              .ranks = ranks,
              .block = options.page()};
  one.owners = spread_pages(size.cached + size.tokens, options.page(), layout, ranks);
  one.setting = {.heads = options.heads,
                 .layout = layout,
                 .block = options.page(),
                 .page_tokens = options.page(),
                 .hosts = hosts};
  std::vector<std::int64_t> cached;
  for (int rank = 0; rank < ranks; ++rank) {
    cached.push_back(owned_columns(one.storage(rank, {}), rank, size.cached));
  }
  one.shape = split_shape(one.deal, cached);
  one.plans = legal_plans(options.strategies, one.setting);
  return one;
}

void widen(PrefillLimits& limits, const PrefillLimits& to) {
  limits.rows = std::max(limits.rows, to.rows);
  limits.columns = std::max(limits.columns, to.columns);
  limits.all_rows = std::max(limits.all_rows, to.all_rows);
  limits.all_columns = std::max(limits.all_columns, to.all_columns);
  limits.ranks = to.ranks;
}

/// Into the first set that has it, or no other plan of its strategy.
void insert(std::vector<StrategySet>& sets, const PlannedStrategy& plan) {
  const auto free = std::ranges::find_if(sets, [&](const StrategySet& set) {
    return set.contains(plan) || !set.contains(plan.strategy);
  });
  (free == sets.end() ? sets.emplace_back() : *free).insert(plan);
}

}  // namespace

StrategyQuestion AttentionCase::question() const {
  StrategySet planned;
  for (const PlannedStrategy& plan : plans) {
    if (!planned.contains(plan.strategy)) planned.insert(plan);
  }
  return {.setting = setting,
          .layers = {{.shape = shape}},
          .identity = has_identity(deal, setting.page_tokens, owners),
          .planned = planned,
          .previous = std::nullopt};
}

StrategyChoice AttentionCase::choice(const MachineRates& rates) const {
  StrategyChoice choice = choose_strategy(question(), rates);
  if (std::ranges::find(plans, choice.plan) != plans.end()) return choice;
  const auto first = std::ranges::find(choice.candidates, plans.front(), &Candidate::plan);
  choice.plan = first->plan;
  choice.seconds = first->seconds;
  choice.reason = str("the first of those asked for: {}", first->dropped);
  return choice;
}

SequenceStorage AttentionCase::storage(int rank, const std::vector<std::int32_t>& slots) const {
  const auto own = std::min<std::ptrdiff_t>(std::ranges::count(owners, rank), std::ssize(slots));
  return {.page_tokens = setting.page_tokens,
          .owners = owners,
          .slots = {slots.begin(), slots.begin() + own}};
}

std::vector<AskedChunk> chunk_sizes(const BenchAttentionOptions& options) {
  const std::int64_t most = std::ranges::max(options.tokens);
  if (options.random) return random_chunks(*options.random, most, options.cached.value_or(most));
  std::vector<AskedChunk> sizes;
  for (std::int64_t tokens : options.tokens) sizes.push_back({tokens, options.cached.value_or(0)});
  return sizes;
}

std::vector<AttentionCase> attention_cases(const BenchAttentionOptions& options,
                                           const std::vector<int>& hosts) {
  std::vector<AttentionCase> cases;
  for (const AskedChunk& size : chunk_sizes(options)) {
    for (Layout layout : options.layouts) cases.push_back(make_case(size, options, layout, hosts));
  }
  return cases;
}

AskedChunk even_share(const AskedChunk& chunk, int rank, int ranks) {
  const std::int64_t rows = chunk.tokens / ranks + (rank < chunk.tokens % ranks ? 1 : 0);
  if (rows == 0) return {.tokens = 0, .cached = 0};
  // rows * (cached + (rows + 1) / 2) pairs are to be what all have, over the ranks.
  const double each = visible_pairs(chunk) / ranks / static_cast<double>(rows);
  const auto cached = std::llround(each - (static_cast<double>(rows) + 1) / 2);
  return {.tokens = rows, .cached = std::max<std::int64_t>(0, cached)};
}

double visible_pairs(const AskedChunk& chunk) {
  const auto tokens = static_cast<double>(chunk.tokens);
  return tokens * static_cast<double>(chunk.cached) + tokens * (tokens + 1) / 2;
}

AttentionRoom room_for(const std::vector<AttentionCase>& cases) {
  AttentionRoom room;
  for (const AttentionCase& one : cases) {
    const int ranks = one.shape.size();
    widen(room.limits, {.rows = one.shape.most_rows(),
                        .columns = one.shape.longest_stream(),
                        .all_rows = one.shape.new_tokens(),
                        .all_columns = one.shape.columns(),
                        .ranks = ranks});
    const std::int64_t page = one.setting.page_tokens;
    room.pages = std::max(room.pages, pages_for(one.shape.most_rows(), page));
    for (int rank = 0; rank < ranks; ++rank) {
      const AskedChunk share = even_share(one.size, rank, ranks);
      const std::int64_t columns = share.cached + share.tokens;
      widen(room.alone, {.rows = share.tokens,
                         .columns = columns,
                         .all_rows = share.tokens,
                         .all_columns = columns,
                         .ranks = 1});
      room.pages = std::max({room.pages, pages_for(columns, page),
                             static_cast<std::int64_t>(std::ranges::count(one.owners, rank))});
    }
    for (const PlannedStrategy& plan : one.plans) insert(room.strategies, plan);
  }
  return room;
}

}  // namespace longspan
