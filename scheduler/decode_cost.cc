#include "scheduler/decode_cost.h"

#include <algorithm>
#include <span>

namespace longspan {
namespace {

/// Between the points, and beyond them on the line through the nearest two; never below 0.
double on_lines(std::span<const DecodeCost::Point> points, std::int64_t rows) {
  if (points.empty() || rows == 0) return 0;
  if (points.size() == 1) return points.front().seconds;
  const auto above = std::ranges::lower_bound(points, rows, {}, &DecodeCost::Point::rows);
  const auto last = std::clamp<std::ptrdiff_t>(above - points.begin(), 1, std::ssize(points) - 1);
  const DecodeCost::Point &low = points[last - 1], &high = points[last];
  const double share =
      static_cast<double>(rows - low.rows) / static_cast<double>(high.rows - low.rows);
  return std::max(0.0, low.seconds + share * (high.seconds - low.seconds));
}

}  // namespace

double DecodeCost::seconds(const DecodeShape& step) const {
  double layer = per_key * static_cast<double>(step.keys);
  if (step.exchanged_bytes > 0 && bytes_per_s > 0) {
    layer += 2 * latency + static_cast<double>(step.exchanged_bytes) / bytes_per_s;
  }
  return fixed + on_lines(of_rows, step.rows) + layers * layer;
}

}  // namespace longspan
