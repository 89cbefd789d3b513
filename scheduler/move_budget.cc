#include "scheduler/move_budget.h"

#include <algorithm>

namespace longspan {
namespace {

constexpr Nanoseconds kSecond = 1'000'000'000;

Nanoseconds time_of_page(std::int64_t bytes_per_second, std::int64_t page_bytes) {
  if (bytes_per_second <= 0 || page_bytes <= 0) return 0;
  const double seconds = static_cast<double>(page_bytes) / static_cast<double>(bytes_per_second);
  return std::max<Nanoseconds>(1, to_nanoseconds(seconds));
}

}  // namespace

/// The first page may go at once.
MoveBudget::MoveBudget(std::int64_t bytes_per_second, std::int64_t page_bytes)
    : of_page_(time_of_page(bytes_per_second, page_bytes)), saved_(of_page_) {}

void MoveBudget::come_to(Nanoseconds now) {
  const Nanoseconds passed = std::max<Nanoseconds>(0, now - last_);
  last_ = std::max(last_, now);
  const Nanoseconds most = std::max(kSecond, of_page_);
  saved_ = std::min(most, saved_ + std::min(most, passed));
}

}  // namespace longspan
