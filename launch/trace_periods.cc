#include "launch/trace_periods.h"

#include <algorithm>

namespace longspan {

std::vector<Period> united(std::vector<Period> periods) {
  std::ranges::sort(periods, {}, &Period::begin);
  std::vector<Period> out;
  for (const Period& next : periods) {
    if (next.end <= next.begin) continue;
    if (!out.empty() && next.begin <= out.back().end) {
      out.back().end = std::max(out.back().end, next.end);
    } else {
      out.push_back(next);
    }
  }
  return out;
}

std::int64_t length(const std::vector<Period>& periods) {
  std::int64_t sum = 0;
  for (const Period& period : periods) sum += period.end - period.begin;
  return sum;
}

std::int64_t common_length(const std::vector<Period>& a, const std::vector<Period>& b) {
  std::int64_t sum = 0;
  auto x = a.begin();
  auto y = b.begin();
  while (x != a.end() && y != b.end()) {
    sum += std::max<std::int64_t>(0, std::min(x->end, y->end) - std::max(x->begin, y->begin));
    x->end < y->end ? ++x : ++y;
  }
  return sum;
}

}  // namespace longspan
