#include "attention/decode_strategies.h"

#include <algorithm>

#include "attention/mirrored_decode.h"
#include "attention/shipped_decode.h"
#include "attention/sliced_decode.h"
#include "attention/tree_decode.h"
#include "comm/error.h"

namespace longspan {
namespace {

std::int64_t scratch_values(DecodeStrategy strategy, const HeadShape& shape,
                            const DecodeLimits& limits) {
  switch (strategy) {
    case DecodeStrategy::kShipped:
      return ShippedDecode::scratch_values(shape, limits);
    case DecodeStrategy::kMirrored:
      return MirroredDecode::scratch_values(shape, limits);
    case DecodeStrategy::kTree:
      return TreeDecode::scratch_values(shape, limits);
    case DecodeStrategy::kSliced:
      return SlicedDecode::scratch_values(shape, limits);
  }
  __builtin_unreachable();
}

std::unique_ptr<DecodeAttention> make(DecodeStrategy strategy, Device& device,
                                      AttentionKernels& kernels, DecodeMemory& memory) {
  switch (strategy) {
    case DecodeStrategy::kShipped:
      return std::make_unique<ShippedDecode>(device, kernels, memory);
    case DecodeStrategy::kMirrored:
      return std::make_unique<MirroredDecode>(device, kernels, memory);
    case DecodeStrategy::kTree:
      return std::make_unique<TreeDecode>(device, kernels, memory);
    case DecodeStrategy::kSliced:
      return std::make_unique<SlicedDecode>(device, kernels, memory);
  }
  __builtin_unreachable();
}

}  // namespace

std::size_t DecodeStrategies::memory_bytes(const HeadShape& shape, const DecodeLimits& limits,
                                           DecodeStrategySet strategies) {
  std::int64_t most = 0;
  for (DecodeStrategy strategy : kDecodeStrategies) {
    if (strategies.contains(strategy)) {
      most = std::max(most, scratch_values(strategy, shape, limits));
    }
  }
  return sizeof(float) * most;
}

DecodeStrategies::DecodeStrategies(Device& device, AttentionKernels& kernels,
                                   const DecodeLimits& limits, DecodeStrategySet strategies) {
  memory_.scratch = device.allocate(memory_bytes(kernels.shape(), limits, strategies));
  memory_.transfer = device.new_stream();
  for (DecodeStrategy strategy : kDecodeStrategies) {
    if (!strategies.contains(strategy)) continue;
    strategies_[static_cast<std::size_t>(strategy)] = make(strategy, device, kernels, memory_);
  }
}

DecodeAttention& DecodeStrategies::use(DecodeStrategy strategy) const {
  const auto& one = strategies_[static_cast<std::size_t>(strategy)];
  expects(one != nullptr, "the job planned memory for the decode strategy it uses");
  return *one;
}

std::int64_t DecodeStrategies::bad_lse_total() const {
  std::int64_t total = 0;
  for (const auto& one : strategies_) {
    if (one) total += one->bad_lse_total();
  }
  return total;
}

}  // namespace longspan
