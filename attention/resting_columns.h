// The cached columns of a rank as they are at rest, in sizes: what travels of them, and how many
// bytes that is.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/kv_type.h"
#include "attention/segment.h"

namespace longspan {

/// Pages of one type and size in a row.
struct RestingPart {
  KvType type;
  std::int64_t pages;
  std::int64_t page_tokens;

  std::int64_t columns() const { return pages * page_tokens; }
  std::int64_t bytes(const HeadShape& heads) const;
};

/// Columns `columns` of those that a rank owns, `held` in all, in pages of `type`. Pages without
/// scales need not be told apart: they are one part. Of a type with scales the parts are what is
/// left of the page that the columns begin in, whole pages, the beginning of the one that they end
/// in, and what they have of the page that is not full.
std::vector<RestingPart> resting_parts(KvType type, std::int64_t page_tokens,
                                       const Interval& columns, std::int64_t held);

/// Of all parts.
std::int64_t resting_bytes(KvType type, const HeadShape& heads, std::int64_t page_tokens,
                           const Interval& columns, std::int64_t held);

/// The most that `columns` columns of `ranks` ranks can take, however they lie: in two stretches of
/// each rank at most, of which the last ends where its columns do.
std::int64_t most_resting_bytes(KvType type, const HeadShape& heads, std::int64_t page_tokens,
                                std::int64_t columns, int ranks);

}  // namespace longspan
