// The strategies that memory was planned for, each with the one way it divides the group.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>

#include "attention/strategy.h"

namespace longspan {

/// A plain value: it travels to every rank as it lies in memory.
class StrategySet {
 public:
  constexpr StrategySet() = default;
  constexpr StrategySet(std::initializer_list<PlannedStrategy> plans) {
    for (const PlannedStrategy& plan : plans) insert(plan);
  }

  constexpr bool empty() const { return *this == StrategySet(); }
  /// Takes the place of another plan of the same strategy.
  constexpr void insert(const PlannedStrategy& plan) { inner_[index(plan.strategy)] = plan.inner; }
  constexpr bool contains(Strategy strategy) const { return inner_[index(strategy)] != 0; }
  constexpr bool contains(const PlannedStrategy& plan) const {
    return inner_[index(plan.strategy)] == plan.inner;
  }
  /// PlannedStrategy::inner of a strategy in the set.
  constexpr int inner(Strategy strategy) const { return inner_[index(strategy)]; }

  constexpr bool operator==(const StrategySet&) const = default;

 private:
  static constexpr std::size_t index(Strategy strategy) {
    return static_cast<std::size_t>(strategy);
  }

  std::array<int, kStrategies.size()> inner_{};  // 0: not in the set
};

}  // namespace longspan
