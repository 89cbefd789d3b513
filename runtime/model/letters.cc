#include "runtime/model/letters.h"

#include <algorithm>
#include <utility>

#include "comm/error.h"
#include "runtime/model/utf8.h"

namespace longspan {

void Letters::set_character(std::string_view character, TokenId token) {
  expects(unit_ == Unit::kCharacter, "characters are the letters");
  const std::uint32_t point = code_point(character);
  if (point >= of_character_.size()) of_character_.resize(point + 1, -1);
  of_character_[point] = token;
}

void Letters::set_unknown(TokenId token, bool fused) {
  unknown_ = token;
  fuses_unknown_ = fused;
}

bool Letters::has_all_bytes() const {
  return std::ranges::all_of(of_byte_, [](TokenId token) { return token >= 0; });
}

std::size_t Letters::first_letter(std::string_view text) const {
  return unit_ == Unit::kByte ? 1 : first_utf8(text).bytes;
}

TokenId Letters::find(std::string_view letter) const {
  if (unit_ == Unit::kByte) return of_byte_[static_cast<std::uint8_t>(letter.front())];
  const std::uint32_t point = code_point(letter);
  return point < of_character_.size() ? of_character_[point] : -1;
}

bool Letters::has_bytes_of(std::string_view letter) const {
  return unit_ == Unit::kCharacter && std::ranges::all_of(letter, [&](char byte) {
           return of_byte_[static_cast<std::uint8_t>(byte)] >= 0;
         });
}

bool Letters::drops(std::string_view letter) const {
  return unknown_ < 0 && find(letter) < 0 && !has_bytes_of(letter);
}

/// Follows Hugging Face's `tokenizers` also where that is odd: bytes in place of a character do not
/// end a run of unknown ones, whose token then comes after them.
class Letters::Speller {
 public:
  Speller(const Letters& rules, std::vector<TokenId>& letters) : rules_(rules), letters_(letters) {}

  void add(std::string_view letter) {
    if (const TokenId token = rules_.find(letter); token >= 0) {
      end_unknown();
      letters_.push_back(token);
    } else if (rules_.has_bytes_of(letter)) {
      for (const char byte : letter) {
        letters_.push_back(rules_.of_byte_[static_cast<std::uint8_t>(byte)]);
      }
    } else if (rules_.unknown_ >= 0) {
      if (!rules_.fuses_unknown_) end_unknown();
      in_unknown_ = true;
    }
  }
  void end_unknown() {
    if (std::exchange(in_unknown_, false)) letters_.push_back(rules_.unknown_);
  }

 private:
  const Letters& rules_;
  std::vector<TokenId>& letters_;
  bool in_unknown_ = false;
};

void Letters::spell(std::string_view piece, std::vector<TokenId>& letters) const {
  letters.clear();
  Speller speller(*this, letters);
  while (!piece.empty()) {
    const std::size_t bytes = first_letter(piece);
    speller.add(piece.substr(0, bytes));
    piece.remove_prefix(bytes);
  }
  speller.end_unknown();
}

void Letters::note_dropped(std::string_view text, std::size_t offset, DroppedBytes& dropped) const {
  if (unknown_ >= 0 || has_all_bytes()) return;
  for (std::size_t at = 0, bytes = 0; at < text.size(); at += bytes) {
    bytes = first_letter(text.substr(at));
    if (!drops(text.substr(at, bytes))) continue;
    if (dropped.count == 0) {
      dropped.first = static_cast<std::uint8_t>(text[at]);
      dropped.first_offset = offset + at;
    }
    dropped.count += bytes;
  }
}

}  // namespace longspan
