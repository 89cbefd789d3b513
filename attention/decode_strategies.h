// All decode strategies of one rank, over one piece of memory.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "attention/decode_attention.h"
#include "attention/strategy.h"
#include "attention/strategy_set.h"

namespace longspan {

class DecodeStrategies {
 public:
  /// Allocates for any step within `limits` by any strategy of the set. Borrows the rest.
  DecodeStrategies(Device& device, AttentionKernels& kernels, const DecodeLimits& limits,
                   DecodeStrategySet strategies);
  static std::size_t memory_bytes(const HeadShape& shape, const DecodeLimits& limits,
                                  DecodeStrategySet strategies);

  /// One of the set.
  DecodeAttention& use(DecodeStrategy strategy) const;
  /// Of all of them.
  std::int64_t bad_lse_total() const;

 private:
  DecodeMemory memory_;
  std::array<std::unique_ptr<DecodeAttention>, kDecodeStrategies.size()> strategies_;
};

}  // namespace longspan
