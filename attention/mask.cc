#include "attention/mask.h"

namespace longspan {

std::vector<Interval> seen_by_some(const Mask& mask, Interval rows, std::int64_t end) {
  if (end == 0) return {};
  if (mask.is_full() || mask.needs_choice()) return {{0, end}};
  const std::int64_t anchor = std::min(mask.anchor(), end);
  const std::int64_t last = std::max(rows.begin, rows.end - 1);
  const std::int64_t near = std::min(mask.near_from(rows.begin), mask.near_from(last));
  if (near <= anchor) return {{0, end}};
  std::vector<Interval> seen;
  if (anchor > 0) seen.push_back({0, anchor});
  if (near < end) seen.push_back({near, end});
  return seen;
}

}  // namespace longspan
