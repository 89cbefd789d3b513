#include "attention/usable_strategies.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "attention/divisors.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

/// Ulysses degrees that leave a ring: real divisors of the group that divide the heads. The first
/// is the largest that stays inside a host, as far as one does (USP, arXiv 2405.07719: "head
/// first"); the others follow, large before small.
std::vector<int> usp_degrees(const SplitSetting& setting) {
  const int island = ranks_per_host(setting.hosts);
  std::vector<int> degrees;
  for (int d : divisors(std::gcd(setting.degree(), setting.heads.query_heads))) {
    if (d > 1 && d < setting.degree()) degrees.push_back(d);
  }
  std::ranges::reverse(degrees);
  std::ranges::stable_partition(
      degrees, [island](int d) { return island > 0 && d <= island && island % d == 0; });
  return degrees;
}

/// One host: the most even division, so that a forced double ring is one even there.
int double_ring_inner(const SplitSetting& setting) {
  const int share = ranks_per_host(setting.hosts);
  if (share < setting.degree()) return share;
  int inner = setting.degree();
  for (int d : divisors(setting.degree())) {
    if (d > 1 && d * d <= setting.degree()) inner = d;
  }
  return inner;
}

std::string identity_refusal(Strategy strategy, const SplitSetting& setting) {
  const std::string_view obstacle = setting.spread ? "" : " and pages spread over the ranks";
  return str(
      "{} leaves the KV of a new token on the rank that computes it; that needs layout "
      "block-cyclic or folded with blocks of one page ({} tokens){}, layout striped with pages of "
      "1 token{}, "
      "or degree 1; or use ring, all-gather or double-ring",
      name(strategy), setting.page_tokens, obstacle, obstacle);
}

std::string ulysses_refusal(const SplitSetting& setting) {
  const int heads = setting.heads.query_heads;
  const std::vector<int> usp = usp_degrees(setting);
  const std::string mixed =
      usp.empty() ? "" : str("usp {} x {}, or ", usp.front(), setting.degree() / usp.front());
  return str("ulysses degree {} does not divide {} query heads; usable degrees: {}; or {}ring",
             setting.degree(), heads, fmt::join(divisors(heads), " "), mixed);
}

std::string usp_refusal(const SplitSetting& setting) {
  return str(
      "usp has no ulysses degree between 1 and {} that divides both {} ranks and {} query heads; "
      "or use {}ring",
      setting.degree(), setting.degree(), setting.heads.query_heads,
      setting.heads.query_heads % setting.degree() == 0 ? "ulysses or " : "");
}

std::string double_ring_refusal() {
  return "double-ring needs equally many ranks on each host, host by host; or use ring or "
         "all-gather";
}

}  // namespace

int ranks_per_host(const std::vector<int>& hosts) {
  const auto first_elsewhere =
      std::ranges::find_if(hosts, [&](int host) { return host != hosts.front(); });
  const int share = static_cast<int>(first_elsewhere - hosts.begin());
  if (hosts.size() % share != 0) return 0;
  std::vector<int> seen;
  for (std::size_t begin = 0; begin < hosts.size(); begin += share) {
    const int host = hosts[begin];
    const bool whole = std::all_of(hosts.begin() + begin, hosts.begin() + begin + share,
                                   [host](int other) { return other == host; });
    if (!whole || std::ranges::find(seen, host) != seen.end()) return 0;
    seen.push_back(host);
  }
  return share;
}

bool promises_identity(const SplitSetting& setting) {
  if (setting.degree() == 1) return true;
  if (!setting.spread) return false;
  switch (setting.layout) {
    case Layout::kBlockCyclic:
    case Layout::kFolded:
      return setting.block == setting.page_tokens;
    case Layout::kStriped:
      return setting.page_tokens == 1;
    case Layout::kZigzag:      // pieces end inside pages
    case Layout::kContiguous:  // likewise
      return false;
  }
  __builtin_unreachable();
}

bool has_identity(const Deal& deal, std::int64_t page_tokens, std::span<const int> owners) {
  const std::int64_t end = deal.first + deal.count;
  expects(std::ssize(owners) * page_tokens >= end, "pages cover the chunk");
  std::vector<std::vector<PositionRun>> shards;
  for (int rank = 0; rank < deal.group_size(); ++rank) shards.push_back(shard(deal, rank));
  for (std::int64_t page = deal.first / page_tokens; page * page_tokens < end; ++page) {
    const Interval positions{std::max(page * page_tokens, deal.first),
                             std::min((page + 1) * page_tokens, end)};
    std::int64_t computed = 0;
    for (const PositionRun& run : shards.at(owners[page])) {
      const Interval part = columns(run, positions);
      computed += part.end - part.begin;
    }
    if (computed != positions.end - positions.begin) return false;
  }
  return true;
}

std::optional<std::string> refusal(Strategy strategy, const SplitSetting& setting) {
  expects(setting.degree() >= 1, "a group has a rank");
  if (setting.degree() == 1) return std::nullopt;
  if (strategy == Strategy::kUlysses && setting.heads.query_heads % setting.degree() != 0) {
    return ulysses_refusal(setting);
  }
  if (strategy == Strategy::kUsp && usp_degrees(setting).empty()) return usp_refusal(setting);
  if (strategy == Strategy::kDoubleRing && ranks_per_host(setting.hosts) == 0) {
    return double_ring_refusal();
  }
  if (passes_keys(strategy)) return std::nullopt;
  if (!promises_identity(setting)) return identity_refusal(strategy, setting);
  return std::nullopt;
}

std::vector<PlannedStrategy> usable_plans(Strategy strategy, const SplitSetting& setting) {
  if (refusal(strategy, setting)) return {};
  if (setting.degree() == 1) return {{strategy, 1}};
  std::vector<PlannedStrategy> plans;
  switch (strategy) {
    case Strategy::kUsp:
      for (int d : usp_degrees(setting)) plans.push_back({strategy, d});
      return plans;
    case Strategy::kDoubleRing:
      return {{strategy, double_ring_inner(setting)}};
    case Strategy::kRing:
    case Strategy::kQueryRing:
    case Strategy::kAllGather:
    case Strategy::kGatherQuery:
    case Strategy::kUlysses:
      return {{strategy, 1}};
  }
  __builtin_unreachable();
}

std::vector<UsableStrategy> usable_strategies(const SplitSetting& setting) {
  std::vector<UsableStrategy> all;
  for (Strategy strategy : kStrategies) {
    const std::vector<PlannedStrategy> plans = usable_plans(strategy, setting);
    all.push_back(
        {plans.empty() ? PlannedStrategy{strategy, 1} : plans.front(), refusal(strategy, setting)});
  }
  return all;
}

PlannedStrategy forced_plan(Strategy strategy, const SplitSetting& setting) {
  if (const auto why = refusal(strategy, setting)) throw UsageError(*why);
  return usable_plans(strategy, setting).front();
}

}  // namespace longspan
