#include "attention/resting_columns.h"

#include <algorithm>

#include "attention/kv_pages.h"

namespace longspan {

std::int64_t RestingPart::bytes(const HeadShape& heads) const {
  return pages * page_bytes(type, heads, page_tokens);
}

std::vector<RestingPart> resting_parts(KvType type, std::int64_t page_tokens,
                                       const Interval& columns, std::int64_t held) {
  std::vector<RestingPart> parts;
  const auto add = [&parts](KvType of, std::int64_t pages, std::int64_t tokens) {
    if (pages > 0 && tokens > 0) parts.push_back({of, pages, tokens});
  };
  if (!has_scales(type)) {
    add(type, 1, columns.end - columns.begin);
    return parts;
  }
  const std::int64_t full =
      std::max(columns.begin, std::min(columns.end, held / page_tokens * page_tokens));
  const std::int64_t inside = columns.begin % page_tokens;
  const std::int64_t cut = inside == 0 ? 0 : std::min(page_tokens - inside, full - columns.begin);
  const std::int64_t rest = full - columns.begin - cut;
  add(type, 1, cut);
  add(type, rest / page_tokens, page_tokens);
  add(type, 1, rest % page_tokens);
  add(filling_type(type), 1, columns.end - full);
  return parts;
}

std::int64_t resting_bytes(KvType type, const HeadShape& heads, std::int64_t page_tokens,
                           const Interval& columns, std::int64_t held) {
  std::int64_t bytes = 0;
  for (const RestingPart& part : resting_parts(type, page_tokens, columns, held)) {
    bytes += part.bytes(heads);
  }
  return bytes;
}

/// With scales: two broken pages more for each rank than whole ones, where the first stretch ends
/// and where the last begins, and one rank holds the page that is not full.
std::int64_t most_resting_bytes(KvType type, const HeadShape& heads, std::int64_t page_tokens,
                                std::int64_t columns, int ranks) {
  const std::int64_t values = columns * heads.kv_values() * value_bytes(type);
  if (!has_scales(type)) return values;
  const std::int64_t scales = page_bytes(type, heads, 0) * (columns / page_tokens + 2 * ranks);
  const std::int64_t filling = std::min(columns, page_tokens - 1) * heads.kv_values();
  return values + scales + filling * (value_bytes(filling_type(type)) - value_bytes(type));
}

}  // namespace longspan
