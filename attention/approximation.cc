#include "attention/approximation.h"

#include <algorithm>
#include <utility>

namespace longspan {
namespace {

constexpr std::array<std::pair<AttentionKind, std::string_view>, 5> kNames{{
    {AttentionKind::kExact, "exact"},
    {AttentionKind::kStar, "star"},
    {AttentionKind::kApb, "apb"},
    {AttentionKind::kSinks, "sinks"},
    {AttentionKind::kBlockSparse, "block-sparse"},
}};

}  // namespace

std::string_view name(AttentionKind kind) {
  return std::ranges::find(kNames, kind, &decltype(kNames)::value_type::first)->second;
}

Approximation usual_sizes(AttentionKind kind, std::optional<std::int64_t> block_tokens) {
  constexpr std::int64_t kSparseBlock = 64;  // fine enough to leave something out
  Approximation usual{.kind = kind};
  if (kind == AttentionKind::kBlockSparse) usual.block_tokens = kSparseBlock;
  usual.block_tokens = block_tokens.value_or(usual.block_tokens);
  usual.anchor_tokens = usual.block_tokens / 4;
  usual.passing_tokens = usual.block_tokens / 8;
  return usual;
}

std::int64_t exact_from(const Approximation& approximation, std::int64_t prompt_tokens) {
  const std::int64_t block = approximation.block_tokens;
  const std::int64_t last = std::max<std::int64_t>(prompt_tokens - 1, 0);
  if (!approximation.query_tokens) return last / block * block;
  return std::max<std::int64_t>(prompt_tokens - *approximation.query_tokens, 0);
}

Mask approximated(const Mask& mask, const Approximation& approximation,
                  std::int64_t prompt_tokens) {
  if (mask != Mask::causal()) return mask;
  BlockMask blocks{.anchor = approximation.block_tokens,
                   .block = approximation.block_tokens,
                   .exact_from = exact_from(approximation, prompt_tokens)};
  switch (approximation.kind) {
    case AttentionKind::kExact:
      return mask;
    case AttentionKind::kStar:
      return Mask::blocks(blocks);
    case AttentionKind::kApb:
      blocks.anchor = approximation.anchor_tokens;
      return Mask::passing(blocks);
    case AttentionKind::kSinks:
      return Mask::sinks(approximation.sink_tokens, approximation.window_tokens);
    case AttentionKind::kBlockSparse:
      return Mask::chosen();
  }
  __builtin_unreachable();
}

}  // namespace longspan
