// Times during which something went on, and what sets of them have in common.
#pragma once

#include <cstdint>
#include <vector>

namespace longspan {

/// [begin, end), in nanoseconds.
struct Period {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  friend bool operator==(const Period&, const Period&) = default;
};

/// The same times in order, and none twice.
std::vector<Period> united(std::vector<Period> periods);

/// Of united periods.
std::int64_t length(const std::vector<Period>& periods);

/// How long both go on. Both are united.
std::int64_t common_length(const std::vector<Period>& a, const std::vector<Period>& b);

}  // namespace longspan
