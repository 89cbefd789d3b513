#include "runtime/model/byte_alphabet.h"

#include <array>

namespace longspan {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr int kLetters = 0x100 + 68;  // highest code point + 1

struct Alphabet {
  std::array<std::int16_t, 256> letter{};     // code point, by byte
  std::array<std::int16_t, kLetters> byte{};  // by code point, or -1
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  std::int16_t next = 0x100;
  for (std::int16_t byte = 0; byte < 256; ++byte) {
    const std::int16_t letter = stands_for_itself(byte) ? byte : next++;
    alphabet.letter[byte] = letter;
    alphabet.byte[letter] = byte;
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string letter_of(std::uint8_t byte) {
  const int letter = kAlphabet.letter[byte];
  if (letter < 0x80) return {static_cast<char>(letter)};
  return {static_cast<char>(0xc0 | letter >> 6), static_cast<char>(0x80 | (letter & 0x3f))};
}

std::optional<std::string> bytes_of(std::string_view written) {
  std::string bytes;
  for (std::size_t i = 0; i < written.size(); ++i) {
    int letter = static_cast<unsigned char>(written[i]);
    if (letter >= 0x80) {  // all other letters take two bytes
      if (letter >= 0xe0 || i + 1 == written.size()) return std::nullopt;
      letter = (letter & 0x1f) << 6 | (static_cast<unsigned char>(written[++i]) & 0x3f);
    }
    if (letter >= kLetters || kAlphabet.byte[letter] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte[letter]);
  }
  return bytes;
}

}  // namespace longspan
