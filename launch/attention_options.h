// What `--attention` and the sizes of its patterns were given.
#pragma once

#include <cstdint>
#include <optional>

#include "attention/approximation.h"

namespace longspan {

/// In tokens, but for the mass; absent: the default of the kind.
struct AttentionOptions {
  AttentionKind kind = AttentionKind::kExact;
  std::optional<std::int64_t> sink_tokens;
  std::optional<std::int64_t> window_tokens;
  std::optional<std::int64_t> block_tokens;
  std::optional<std::int64_t> query_tokens;
  std::optional<std::int64_t> anchor_tokens;
  std::optional<std::int64_t> passing_tokens;
  std::optional<std::int64_t> observed_tokens;
  std::optional<double> block_mass;
  std::optional<bool> balances_rows;
};

/// Throws UsageError for a size that the kind does not have.
Approximation approximation(const AttentionOptions& options);

}  // namespace longspan
