// The decode strategies that a job may use.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "attention/strategy.h"

namespace longspan {

/// A plain value, as StrategySet is.
class DecodeStrategySet {
 public:
  constexpr DecodeStrategySet() = default;
  constexpr DecodeStrategySet(std::initializer_list<DecodeStrategy> list) {
    for (DecodeStrategy strategy : list) insert(strategy);
  }

  constexpr void insert(DecodeStrategy strategy) { bits_ |= bit(strategy); }
  constexpr bool contains(DecodeStrategy strategy) const { return (bits_ & bit(strategy)) != 0; }

 private:
  static constexpr std::uint32_t bit(DecodeStrategy strategy) {
    return 1u << static_cast<unsigned>(strategy);
  }

  std::uint32_t bits_ = 0;
};

}  // namespace longspan
