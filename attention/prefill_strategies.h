// All prefill strategies of one rank, over one piece of memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "attention/prefill_attention.h"
#include "attention/strategy.h"
#include "attention/strategy_set.h"

namespace longspan {

/// Which strategies a job may use.
using StrategySet = BasicStrategySet<Strategy>;

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
