// Attention that is not exact, where a user asked for it: which keys a row sees is a pattern over
// absolute positions, the same for every degree, layout, strategy and chunk.
//
//   sinks         StreamingLLM (arXiv 2309.17453): the first tokens and the last ones, for every
//                 row. Positions stay absolute, also in the cache
//   star          Star Attention (arXiv 2411.17116): the prompt but for its end in blocks, whose
//                 rows see the first block and their own; what follows sees everything
//   apb           APB (arXiv 2502.12085): as star, but with a smaller anchor, and of every block
//                 before a row's own the tokens that passing_chooser.h chooses
//   block-sparse  rows of a prompt see the blocks that block_chooser.h chooses; what follows sees
//                 everything
//
// Nothing chooses one of these by itself. docs/approximate-attention.md says what each costs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "attention/mask.h"

namespace longspan {

enum class AttentionKind { kExact, kStar, kApb, kSinks, kBlockSparse };

inline constexpr std::array kAttentionKinds{AttentionKind::kExact, AttentionKind::kStar,
                                            AttentionKind::kApb, AttentionKind::kSinks,
                                            AttentionKind::kBlockSparse};

/// "exact", "block-sparse", ...
std::string_view name(AttentionKind kind);

/// In tokens, but for the mass. A kind uses those that its pattern names.
struct Approximation {
  AttentionKind kind = AttentionKind::kExact;
  std::int64_t sink_tokens = 4;       // sinks; 0 or more
  std::int64_t window_tokens = 2048;  // sinks; 1 or more
  std::int64_t block_tokens = 4096;   // star, apb, block-sparse; 1 or more
  std::optional<std::int64_t>
      query_tokens{};                 // star, apb: the prompt's end; absent: its last block
  std::int64_t anchor_tokens = 1024;  // apb; 0 or more
  std::int64_t passing_tokens = 512;  // apb: of each block, by KV head; 0 or more
  std::int64_t observed_tokens = 32;  // apb: whose queries score their block; 1 or more
  double block_mass = 0.95;           // block-sparse: of the estimated attention; (0, 1]
  bool balances_rows = true;          // block-sparse: see row_balancer.h

  bool is_exact() const { return kind == AttentionKind::kExact; }
  /// Whether keys are chosen while a step runs: then a prompt is read in one chunk.
  bool needs_choice() const {
    return kind == AttentionKind::kApb || kind == AttentionKind::kBlockSparse;
  }
};

/// A kind with its usual sizes, where `block_tokens` are given or not.
Approximation usual_sizes(AttentionKind kind, std::optional<std::int64_t> block_tokens = {});

/// The first position of the prompt's end, from which on rows of star and apb see everything.
std::int64_t exact_from(const Approximation& approximation, std::int64_t prompt_tokens);

/// What a layer whose own mask is `mask` attends under, for a request with `prompt_tokens`. Only
/// causal layers are approximated: others see less already, or all by design.
Mask approximated(const Mask& mask, const Approximation& approximation, std::int64_t prompt_tokens);

}  // namespace longspan
