#include "runtime/model/utf8.h"

#include <cstdint>
#include <cstring>

#include "runtime/model/tokenizer.h"

namespace longspan {
namespace {

/// What may follow a first byte: how many more bytes, and the range of the second.
struct Lead {
  std::size_t more;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
};

constexpr std::size_t kNoLead = 0;

Lead lead(unsigned char byte) {
  if (byte < 0xc2 || byte > 0xf4) return {kNoLead};  // continuation, overlong, above U+10FFFF
  if (byte < 0xe0) return {1};
  if (byte == 0xe0) return {2, 0xa0, 0xbf};  // below is overlong
  if (byte == 0xed) return {2, 0x80, 0x9f};  // above are surrogates
  if (byte < 0xf0) return {2};
  if (byte == 0xf0) return {3, 0x90, 0xbf};  // below is overlong
  if (byte == 0xf4) return {3, 0x80, 0x8f};  // above is beyond U+10FFFF
  return {3};
}

/// Bytes of ASCII at the start of `text`, in whole words of eight.
std::size_t ascii_words(std::string_view text) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080;
  std::size_t at = 0;
  for (std::uint64_t word; at + sizeof word <= text.size(); at += sizeof word) {
    std::memcpy(&word, text.data() + at, sizeof word);
    if (word & kHighBits) break;
  }
  return at;
}

}  // namespace

Utf8Step first_utf8(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x80) return {1, Utf8Form::kWhole};
  Lead rule = lead(first);
  if (rule.more == kNoLead) return {1, Utf8Form::kIllFormed};
  for (std::size_t i = 1; i <= rule.more; ++i) {
    if (i == text.size()) return {i, Utf8Form::kUnfinished};
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < rule.low || byte > rule.high) return {i, Utf8Form::kIllFormed};
    rule = {rule.more};  // from the third byte on any continuation will do
  }
  return {rule.more + 1, Utf8Form::kWhole};
}

std::uint32_t code_point(std::string_view character) {
  const auto first = static_cast<unsigned char>(character.front());
  if (character.size() == 1) return first;
  std::uint32_t point = first & (0x7f >> character.size());
  for (const char byte : character.substr(1)) {
    point = point << 6 | (static_cast<unsigned char>(byte) & 0x3f);
  }
  return point;
}

std::size_t find_invalid_utf8(std::string_view text) {
  std::size_t at = 0;
  while (true) {
    at += ascii_words(text.substr(at));
    if (at == text.size()) return std::string_view::npos;
    const Utf8Step step = first_utf8(text.substr(at));
    if (step.form != Utf8Form::kWhole) return at;
    at += step.bytes;
  }
}

void move_decided_utf8(std::string& pending, std::string& text) {
  std::size_t at = 0;
  while (at < pending.size()) {
    const std::string_view rest = std::string_view(pending).substr(at);
    const Utf8Step step = first_utf8(rest);
    if (step.form == Utf8Form::kUnfinished) break;
    text += step.form == Utf8Form::kWhole ? rest.substr(0, step.bytes) : kReplacement;
    at += step.bytes;
  }
  pending.erase(0, at);
}

}  // namespace longspan
