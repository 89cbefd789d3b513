// Random valid UTF-8 that dwells on what tokenizers trip over.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace longspan::test {

inline void append_code_point(std::string& text, std::uint32_t point) {
  const auto put = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  const auto put_rest = [&](int shift) { put(0x80 | (point >> shift & 0x3f)); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xc0 | point >> 6), put_rest(0);
  } else if (point < 0x10000) {
    put(0xe0 | point >> 12), put_rest(6), put_rest(0);
  } else {
    put(0xf0 | point >> 18), put_rest(12), put_rest(6), put_rest(0);
  }
}

inline std::string random_text(std::mt19937_64& random, int parts) {
  static constexpr std::array<std::string_view, 22> kParts{
      " ",  "  ", "\n", "\t \n", "'s", "'ll",    "'",      "the", "Hello", " world",       "1",
      "20", "é",  "漢", "हि",    "🙂", "\u00a0", "\u3000", "!",   "...",   "<|im_start|>", "<|im"};
  std::string text;
  for (int i = 0; i < parts; ++i) {
    const std::uint64_t draw = random();
    if (draw % 4 != 0) {
      text += kParts[(draw >> 8) % kParts.size()];
      continue;
    }
    const std::uint32_t point = static_cast<std::uint32_t>(draw >> 8) % 0x110000;
    if (point < 0xd800 || point >= 0xe000) append_code_point(text, point);
  }
  return text;
}

}  // namespace longspan::test
