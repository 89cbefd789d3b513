#include "runtime/chat/unicode_text.h"

#include <locale.h>
#include <string.h>
#include <wctype.h>

#include <algorithm>
#include <functional>
#include <unordered_set>
#include <utility>

namespace longspan {
namespace {

/// The C library's table of all characters, whatever the locale of the process.
locale_t unicode() {
  static const locale_t table = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return table;
}

std::size_t bytes_of_character(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

std::string_view first_character(std::string_view text) {
  return text.substr(0, bytes_of_character(text.front()));
}

std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

std::string mapped(std::string_view text, const std::function<char32_t(char32_t)>& change) {
  std::string out;
  out.reserve(text.size());
  for (std::string_view character : characters(text)) out += utf8(change(code_point(character)));
  return out;
}

char32_t to_upper(char32_t c) { return towupper_l(static_cast<wint_t>(c), unicode()); }
char32_t to_lower(char32_t c) { return towlower_l(static_cast<wint_t>(c), unicode()); }

std::string_view strip_where(std::string_view text, Ends ends,
                             const std::function<bool(std::string_view)>& drops) {
  while (ends.left && !text.empty() && drops(first_character(text))) {
    text.remove_prefix(first_character(text).size());
  }
  while (ends.right && !text.empty() && drops(last_character(text))) {
    text.remove_suffix(last_character(text).size());
  }
  return text;
}

bool ends_line(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> list;
  while (!text.empty()) {
    list.push_back(first_character(text));
    text.remove_prefix(list.back().size());
  }
  return list;
}

std::size_t count_characters(std::string_view text) {
  return std::ranges::count_if(text, [](char byte) { return (byte & 0xC0) != 0x80; });
}

std::string utf8(char32_t c) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c != 0x7F;
  return !is_space(c) && c != 0xAD && iswprint_l(static_cast<wint_t>(c), unicode()) != 0;
}

bool is_letter(char32_t c) { return iswalpha_l(static_cast<wint_t>(c), unicode()) && !is_digit(c); }
bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }

std::string upper(std::string_view text) { return mapped(text, to_upper); }
std::string lower(std::string_view text) { return mapped(text, to_lower); }

std::string capitalized(std::string_view text) {
  bool first = true;
  return mapped(
      text, [&](char32_t c) { return std::exchange(first, false) ? to_upper(c) : to_lower(c); });
}

std::string titled(std::string_view text) {
  bool in_word = false;
  return mapped(text, [&](char32_t c) {
    const bool begins = !std::exchange(in_word, is_letter(c));
    return begins ? to_upper(c) : to_lower(c);
  });
}

std::string_view stripped(std::string_view text, Ends ends) {
  return strip_where(text, ends, [](std::string_view c) { return is_space(code_point(c)); });
}

std::string_view stripped(std::string_view text, std::string_view drop, Ends ends) {
  const std::vector<std::string_view> list = characters(drop);
  const std::unordered_set<std::string_view> set(list.begin(), list.end());
  return strip_where(text, ends, [&](std::string_view c) { return set.contains(c); });
}

std::size_t find_part(std::string_view text, std::string_view part) {
  const void* at = memmem(text.data(), text.size(), part.data(), part.size());
  return at == nullptr ? std::string_view::npos : static_cast<const char*>(at) - text.data();
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  std::string line;
  bool open = false;
  const std::vector<std::string_view> all = characters(text);
  for (std::size_t i = 0; i < all.size(); ++i) {
    open = !ends_line(code_point(all[i]));
    if (open) {
      line += all[i];
      continue;
    }
    if (all[i] == "\r" && i + 1 < all.size() && all[i + 1] == "\n") ++i;
    lines.push_back(std::exchange(line, {}));
  }
  if (open) lines.push_back(line);
  return lines;
}

std::vector<std::string> words_of(std::string_view text, std::size_t most) {
  std::vector<std::string> words;
  text = stripped(text, Ends{.right = false});
  while (!text.empty()) {
    if (words.size() == most) {
      words.emplace_back(stripped(text, Ends{.left = false}));
      break;
    }
    std::size_t end = 0;
    while (end < text.size()) {
      const std::string_view c = first_character(text.substr(end));
      if (is_space(code_point(c))) break;
      end += c.size();
    }
    words.emplace_back(text.substr(0, end));
    text = stripped(text.substr(end), Ends{.right = false});
  }
  return words;
}

std::vector<std::string> split(std::string_view text, std::string_view separator,
                               std::size_t most) {
  std::vector<std::string> parts;
  for (std::size_t at; parts.size() < most; text.remove_prefix(at + separator.size())) {
    at = find_part(text, separator);
    if (at == std::string_view::npos) break;
    parts.emplace_back(text.substr(0, at));
  }
  parts.emplace_back(text);
  return parts;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     std::size_t most) {
  std::string out;
  if (!from.empty()) {
    const std::vector<std::string> parts = split(text, from, most);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) out += to;
      out += parts[i];
    }
    return out;
  }
  std::size_t times = 0;
  for (std::string_view character : characters(text)) {
    if (times++ < most) out += to;
    out += character;
  }
  if (times < most) out += to;
  return out;
}

}  // namespace longspan
