#include "attention/key_chooser.h"

#include "attention/block_chooser.h"
#include "attention/passing_chooser.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {

std::size_t chooser_bytes(const HeadShape& shape, const Approximation& approximation,
                          const PrefillLimits& limits) {
  switch (approximation.kind) {
    case AttentionKind::kBlockSparse:
      return BlockChooser::memory_bytes(shape, approximation, limits);
    case AttentionKind::kApb:
      return PassingChooser::memory_bytes(shape, approximation, limits);
    case AttentionKind::kExact:
    case AttentionKind::kStar:
    case AttentionKind::kSinks:
      return 0;
  }
  __builtin_unreachable();
}

std::unique_ptr<KeyChooser> new_key_chooser(Device& device, const AttentionKernels& kernels,
                                            const Approximation& approximation,
                                            const PrefillLimits& limits) {
  if (!approximation.needs_choice()) return nullptr;
  if (!kernels.reads_choices()) {
    throw ConfigError(
        str("{} attention needs kernels that read which keys were chosen, and {} kernels do not; "
            "use exact, sinks or star",
            name(approximation.kind), kernels.isa()));
  }
  if (approximation.kind == AttentionKind::kApb) {
    return std::make_unique<PassingChooser>(device, kernels.shape(), approximation, limits);
  }
  return std::make_unique<BlockChooser>(device, kernels.shape(), approximation, limits);
}

}  // namespace longspan
