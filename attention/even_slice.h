// How ranks share a width that all of them hold: heads, columns of a matrix, a vocabulary.
#pragma once

#include <algorithm>
#include <cstdint>

namespace longspan {

/// [first, first + count) of something.
struct Slice {
  int first = 0;
  int count = 0;

  bool operator==(const Slice&) const = default;
};

/// Part `part` of `parts` of [0, width), cut at multiples of `unit`. The parts follow one another,
/// cover the width and differ by one unit at most, apart from what the last unit lacks; with fewer
/// units than parts some are empty.
constexpr Slice even_slice(int width, int unit, int part, int parts) {
  const std::int64_t units = (static_cast<std::int64_t>(width) + unit - 1) / unit;
  const auto border = [&](int at) {
    return static_cast<int>(std::min<std::int64_t>(width, units * at / parts * unit));
  };
  return {border(part), border(part + 1) - border(part)};
}

}  // namespace longspan
