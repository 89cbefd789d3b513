#include "runtime/model/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "comm/error.h"
#include "runtime/model/utf8.h"

namespace longspan {
namespace {

// Below U+0300 no character composes with another, and all are composed; so the first byte of a
// character tells.
bool is_surely_composed(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<std::uint8_t>(c) < 0xcc; });
}

/// Fully decomposed, in the text's order.
std::vector<utf8proc_int32_t> decomposed(std::string_view text) {
  constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  constexpr std::size_t kMost = 8;  // of one character; canonical ones have 4 at most
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  while (!text.empty()) {
    const std::size_t bytes = first_utf8(text).bytes;
    const auto point = static_cast<utf8proc_int32_t>(code_point(text.substr(0, bytes)));
    std::array<utf8proc_int32_t, kMost> parts{};
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(point, parts.data(), parts.size(), kOptions, &boundary);
    expects(count > 0 && count <= std::ssize(parts), "a character decomposes into a few");
    points.insert(points.end(), parts.begin(), parts.begin() + count);
    text.remove_prefix(bytes);
  }
  return points;
}

int combining_class(utf8proc_int32_t point) {
  return utf8proc_get_property(point)->combining_class;
}

/// Marks between two starters by class. A sort: utf8proc's own swaps neighbours, which takes O(n^2)
/// for a text of marks alone.
void order_marks(std::span<utf8proc_int32_t> points) {
  const auto is_mark = [](utf8proc_int32_t point) { return combining_class(point) > 0; };
  for (auto at = points.begin(); at != points.end();) {
    at = std::find_if(at, points.end(), is_mark);
    const auto end = std::find_if_not(at, points.end(), is_mark);
    std::stable_sort(at, end,
                     [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    at = end;
  }
}

void append(std::string& text, utf8proc_int32_t point) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto count = utf8proc_encode_char(point, bytes.data());
  text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(count));
}

}  // namespace

std::string composed(std::string_view text) {
  if (is_surely_composed(text)) return std::string(text);
  std::vector<utf8proc_int32_t> points = decomposed(text);
  order_marks(points);
  constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const auto count = utf8proc_normalize_utf32(points.data(), std::ssize(points), kOptions);
  expects(count >= 0, "decomposed characters compose");
  std::string out;
  out.reserve(text.size());
  for (const auto point : std::span(points).first(static_cast<std::size_t>(count))) {
    append(out, point);
  }
  return out;
}

bool is_word_character(std::uint32_t point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    case UTF8PROC_CATEGORY_SO:  // letters in circles and squares are alphabetic symbols
      return (point >= 0x24b6 && point <= 0x24e9) || (point >= 0x1f130 && point <= 0x1f149) ||
             (point >= 0x1f150 && point <= 0x1f169) || (point >= 0x1f170 && point <= 0x1f189);
    default:
      return point == 0x200c || point == 0x200d;
  }
}

bool is_white_space(std::uint32_t point) {
  return (point >= 0x09 && point <= 0x0d) || point == 0x20 || point == 0x85 || point == 0xa0 ||
         point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 ||
         point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

}  // namespace longspan
