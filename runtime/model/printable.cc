#include "runtime/model/printable.h"

#include <algorithm>

#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::size_t kLongest = 64;

bool is_printable_byte(char c) { return c >= 0x20 && c < 0x7f; }

}  // namespace

bool is_printable(std::string_view text) { return std::ranges::all_of(text, is_printable_byte); }

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kLongest)) {
    if (is_printable_byte(c)) {
      out += c;
    } else {
      out += str("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > kLongest) out += "...";
  return out;
}

}  // namespace longspan
