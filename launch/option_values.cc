#include "launch/option_values.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <optional>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/nearest_word.h"

namespace longspan {
namespace {

[[noreturn]] void refuse(const Given& given, std::string_view what_is_legal) {
  throw UsageError(str("{} must be {}, not '{}'", given.name, what_is_legal, given.value));
}

/// The number that all of `text` spells; nothing if there is anything else or it does not fit.
template <typename Number>
std::optional<Number> spelled(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool holds(Range range, std::int64_t number) {
  return number >= range.least && number <= range.most;
}

/// Whether `text` is a whole number that does not fit.
bool overflows(std::string_view text) {
  std::int64_t number = 0;
  return std::from_chars(text.data(), text.data() + text.size(), number).ec ==
         std::errc::result_out_of_range;
}

/// The most that a number can be is told only to those who met it.
std::string described(Range range, bool overflown) {
  if (range.most == Range{}.most && !overflown) return str("of at least {}", range.least);
  return str("from {} to {}", range.least, range.most);
}

/// 1 without a suffix, 0 for a letter that is none.
std::int64_t multiplier(char suffix) {
  constexpr std::string_view kThousands = "kmgt", kBinary = "KMGT";
  if (suffix >= '0' && suffix <= '9') return 1;
  if (const auto power = kThousands.find(suffix); power != std::string_view::npos) {
    return std::llround(std::pow(1000.0, static_cast<double>(power + 1)));
  }
  const auto power = kBinary.find(suffix);
  return power == std::string_view::npos ? 0 : std::int64_t{1} << (10 * (power + 1));
}

/// What stands between the commas of `text`.
std::vector<std::string> parts(const std::string& text) {
  std::vector<std::string> list;
  for (std::size_t begin = 0; begin != std::string::npos;) {
    const std::size_t comma = text.find(',', begin);
    list.push_back(text.substr(begin, comma - begin));
    begin = comma == std::string::npos ? comma : comma + 1;
  }
  return list;
}

std::string listed(std::span<const std::string_view> words) {
  std::string list;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) list += i + 1 == words.size() ? " or " : ", ";
    list += words[i];
  }
  return list;
}

}  // namespace

std::int64_t whole_number(const Given& given, Range range) {
  const auto number = spelled<std::int64_t>(given.value);
  if (!number || !holds(range, *number)) {
    refuse(given, str("a whole number {}", described(range, overflows(given.value))));
  }
  return *number;
}

std::int64_t size(const Given& given, Range range) {
  std::string_view digits = given.value;
  const std::int64_t unit = digits.empty() ? 0 : multiplier(digits.back());
  if (unit > 1) digits.remove_suffix(1);
  const auto number = spelled<std::int64_t>(digits);
  const bool too_large = unit > 0 && (number ? *number > Range{}.most / unit : overflows(digits));
  const bool fits = number && unit > 0 && *number >= 0 && !too_large;
  if (!fits || !holds(range, *number * unit)) {
    refuse(given, str("a whole number {} (k 1000, K 1024; m, M, g, G, t, T alike)",
                      described(range, too_large)));
  }
  return *number * unit;
}

int power_of_two(const Given& given, Range range) {
  const auto number = spelled<std::int64_t>(given.value);
  if (!number || !holds(range, *number) ||
      !std::has_single_bit(static_cast<std::uint64_t>(*number))) {
    refuse(given, str("a power of two {}", described(range, overflows(given.value))));
  }
  return static_cast<int>(*number);
}

std::chrono::milliseconds seconds(const Given& given) {
  constexpr double kLongest = 1e6;  // eleven days, far from any overflow
  const auto number = spelled<double>(given.value);
  if (!number || !(*number >= 0.001 && *number <= kLongest)) {
    refuse(given, "a number of seconds from 0.001 to 1000000");
  }
  return std::chrono::milliseconds(std::llround(*number * 1000));
}

double share(const Given& given) {
  const auto number = spelled<double>(given.value);
  if (!number || !(*number > 0 && *number <= 1)) refuse(given, "a number above 0 and up to 1");
  return *number;
}

double real_number(const Given& given, const RealRange& range) {
  const auto number = spelled<double>(given.value);
  if (!number || !range.holds(*number)) refuse(given, range.text());
  return *number;
}

std::vector<int> number_list(const Given& given, Range range, std::size_t fewest) {
  std::vector<int> numbers;
  for (const std::string& part : parts(given.value)) {
    const auto number = spelled<std::int64_t>(part);
    if (!number || !holds(range, *number)) {
      refuse(given,
             str("whole numbers {} with commas between them", described(range, overflows(part))));
    }
    numbers.push_back(static_cast<int>(*number));
  }
  if (numbers.size() < fewest) {
    refuse(given, str("{} or more numbers with commas between them", fewest));
  }
  return numbers;
}

std::vector<std::int64_t> size_list(const Given& given, Range range) {
  std::vector<std::int64_t> sizes;
  for (const std::string& part : parts(given.value)) {
    sizes.push_back(size({given.name, part}, range));
  }
  return sizes;
}

bool switch_position(const Given& given) {
  constexpr std::array<std::string_view, 8> kWords = {"true",  "1", "yes", "on",
                                                      "false", "0", "no",  "off"};
  return one_of(given, kWords) < 4;
}

std::size_t one_of(const Given& given, std::span<const std::string_view> words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == given.value) return i;
  }
  const std::vector<std::string> candidates(words.begin(), words.end());
  const auto nearest = nearest_word(given.value, candidates);
  const std::string hint = nearest ? str("; nearest: {}", *nearest) : "";
  throw UsageError(str("{} must be {}, not '{}'{}", given.name, listed(words), given.value, hint));
}

std::vector<std::size_t> some_of(const Given& given, std::span<const std::string_view> words) {
  std::vector<std::size_t> indices;
  for (const std::string& part : parts(given.value)) {
    const std::size_t index = one_of({given.name, part}, words);
    if (std::ranges::find(indices, index) != indices.end()) {
      throw UsageError(str("{} names {} twice", given.name, part));
    }
    indices.push_back(index);
  }
  return indices;
}

std::string some_text(const Given& given) {
  if (given.value.empty()) throw UsageError(str("{} is empty", given.name));
  return given.value;
}

}  // namespace longspan
