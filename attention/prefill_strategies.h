// All prefill strategies of one rank, over one piece of memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "attention/prefill_attention.h"
#include "attention/strategy.h"

namespace longspan {

/// Which strategies a job may use.
class StrategySet {
 public:
  constexpr StrategySet() = default;
  constexpr StrategySet(std::initializer_list<Strategy> list) {
    for (Strategy strategy : list) insert(strategy);
  }
  constexpr void insert(Strategy strategy) { bits_ |= 1u << static_cast<unsigned>(strategy); }
  constexpr bool contains(Strategy strategy) const {
    return (bits_ >> static_cast<unsigned>(strategy) & 1) != 0;
  }

 private:
  std::uint32_t bits_ = 0;
};

class PrefillStrategies {
 public:
  /// Allocates for any chunk within `limits` by any strategy of the set. Borrows the rest.
  PrefillStrategies(Device& device, AttentionKernels& kernels, const PrefillLimits& limits,
                    StrategySet strategies);
  static std::size_t memory_bytes(const HeadShape& shape, const PrefillLimits& limits,
                                  StrategySet strategies);

  /// One of the set.
  PrefillAttention& use(Strategy strategy);

 private:
  PrefillMemory memory_;
  std::array<std::unique_ptr<PrefillAttention>, 7> strategies_;
};

}  // namespace longspan
