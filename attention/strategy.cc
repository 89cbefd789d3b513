#include "attention/strategy.h"

#include <algorithm>
#include <utility>

#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::array<std::pair<Strategy, std::string_view>, 7> kNames{{
    {Strategy::kRing, "ring"},
    {Strategy::kQueryRing, "query-ring"},
    {Strategy::kAllGather, "all-gather"},
    {Strategy::kGatherQuery, "gather-q"},
    {Strategy::kUlysses, "ulysses"},
    {Strategy::kUsp, "usp"},
    {Strategy::kDoubleRing, "double-ring"},
}};

constexpr std::array<std::pair<DecodeStrategy, std::string_view>, 4> kDecodeNames{{
    {DecodeStrategy::kShipped, "shipped"},
    {DecodeStrategy::kMirrored, "mirrored"},
    {DecodeStrategy::kTree, "tree"},
    {DecodeStrategy::kSliced, "sliced"},
}};

template <typename Names>
auto value_of(const Names& names, std::string_view name) {
  const auto found = std::ranges::find(names, name, &Names::value_type::second);
  return found == names.end() ? std::nullopt : std::optional(found->first);
}

template <typename Names, typename Value>
std::string_view name_of(const Names& names, Value value) {
  return std::ranges::find(names, value, &Names::value_type::first)->second;
}

}  // namespace

std::optional<Strategy> parse_strategy(std::string_view name) { return value_of(kNames, name); }

std::string_view name(Strategy strategy) { return name_of(kNames, strategy); }

bool passes_keys(Strategy strategy) {
  switch (strategy) {
    case Strategy::kRing:
    case Strategy::kAllGather:
    case Strategy::kDoubleRing:
      return true;
    case Strategy::kQueryRing:
    case Strategy::kGatherQuery:
    case Strategy::kUlysses:
    case Strategy::kUsp:
      return false;
  }
  __builtin_unreachable();
}

std::string describe(const PlannedStrategy& plan, int degree) {
  switch (plan.strategy) {
    case Strategy::kUsp:
      return str("usp {} x {}", plan.inner, degree / plan.inner);
    case Strategy::kDoubleRing:
      return str("double-ring {} x {}", degree / plan.inner, plan.inner);
    case Strategy::kRing:
    case Strategy::kQueryRing:
    case Strategy::kAllGather:
    case Strategy::kGatherQuery:
    case Strategy::kUlysses:
      return std::string(name(plan.strategy));
  }
  __builtin_unreachable();
}

std::optional<DecodeStrategy> parse_decode_strategy(std::string_view name) {
  return value_of(kDecodeNames, name);
}

std::string_view name(DecodeStrategy strategy) { return name_of(kDecodeNames, strategy); }

bool mirrors_rows(DecodeStrategy strategy) {
  switch (strategy) {
    case DecodeStrategy::kMirrored:
    case DecodeStrategy::kSliced:
      return true;
    case DecodeStrategy::kShipped:
    case DecodeStrategy::kTree:
      return false;
  }
  __builtin_unreachable();
}

}  // namespace longspan
