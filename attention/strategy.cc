#include "attention/strategy.h"

#include <algorithm>
#include <array>
#include <utility>

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

}  // namespace

std::optional<Strategy> parse_strategy(std::string_view name) {
  for (const auto& [strategy, word] : kNames) {
    if (word == name) return strategy;
  }
  return std::nullopt;
}

std::string_view name(Strategy strategy) {
  return std::ranges::find(kNames, strategy, &decltype(kNames)::value_type::first)->second;
}

bool needs_own_keys(Strategy strategy) {
  switch (strategy) {
    case Strategy::kRing:
    case Strategy::kAllGather:
    case Strategy::kDoubleRing:
      return false;
    case Strategy::kQueryRing:
    case Strategy::kGatherQuery:
    case Strategy::kUlysses:
    case Strategy::kUsp:
      return true;
  }
  __builtin_unreachable();
}

}  // namespace longspan
