// Turns the text of one option into a value, or refuses it with a line that says what is legal.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/sampling_ranges.h"

namespace longspan {

/// A value as it was given, and under which name: "--degree" or "LONGSPAN_DEGREE".
struct Given {
  std::string name;
  std::string value;
};

/// [least, most]
struct Range {
  std::int64_t least = 1;
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
};

/// All of these throw UsageError.
std::int64_t whole_number(const Given& given, Range range);
/// A whole number that may end in k (1000), K (1024), m, M, g, G, t or T likewise.
std::int64_t size(const Given& given, Range range);
int power_of_two(const Given& given, Range range);
/// Seconds above zero, fractions allowed, to the millisecond.
std::chrono::milliseconds seconds(const Given& given);
/// Above 0 and up to 1.
double share(const Given& given);
/// Fractions allowed.
double real_number(const Given& given, const RealRange& range);
/// At least `fewest` whole numbers with commas between them.
std::vector<int> number_list(const Given& given, Range range, std::size_t fewest);
/// One or more sizes, each as size() reads it, with commas between them.
std::vector<std::int64_t> size_list(const Given& given, Range range);
/// What a switch was set to: true, false, 1, 0, yes, no, on, off.
bool switch_position(const Given& given);
/// The index of the value in `words`.
std::size_t one_of(const Given& given, std::span<const std::string_view> words);
/// The indices in `words` of one or more of them, no two alike, with commas between them.
std::vector<std::size_t> some_of(const Given& given, std::span<const std::string_view> words);
/// A value that may be anything but empty.
std::string some_text(const Given& given);

}  // namespace longspan
