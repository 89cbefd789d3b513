#include "attention/prefill_attention.h"

#include <algorithm>

#include "attention/resting_columns.h"

namespace longspan {
namespace {

/// A new column takes more than a cached one, so there are as many as there may be.
std::int64_t stream_floats(const PrefillLimits& limits, const HeadShape& heads, std::int64_t rows,
                           std::int64_t columns, int ranks) {
  const std::int64_t cached = most_resting_bytes(limits.kv_type, heads, limits.page_tokens,
                                                 std::max<std::int64_t>(columns - rows, 0), ranks);
  return rows * heads.kv_values() + cached / static_cast<std::int64_t>(sizeof(float));
}

}  // namespace

std::int64_t PrefillLimits::stream_values(const HeadShape& heads) const {
  return stream_floats(*this, heads, rows, columns, 1);
}

std::int64_t PrefillLimits::all_stream_values(const HeadShape& heads) const {
  return stream_floats(*this, heads, std::min(all_rows, all_columns), all_columns, ranks);
}

}  // namespace longspan
