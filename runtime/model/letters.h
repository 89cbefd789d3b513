// What a piece starts as, before pairs are merged: a token per byte, or a token per character with
// bytes in place of characters that have none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/model/tokenizer.h"

namespace longspan {

class Letters {
 public:
  enum class Unit { kByte, kCharacter };

  explicit Letters(Unit unit) : unit_(unit) { of_byte_.fill(-1); }

  /// Of a byte: as a letter of its own, or what is written when a character has no token.
  void set_byte(std::uint8_t byte, TokenId token) { of_byte_[byte] = token; }
  /// `character`: one, as UTF-8. Only for characters.
  void set_character(std::string_view character, TokenId token);
  /// Stands for what has no token otherwise; `fused`: once for neighbours.
  void set_unknown(TokenId token, bool fused);

  Unit unit() const { return unit_; }
  TokenId of_byte(std::uint8_t byte) const { return of_byte_[byte]; }
  bool has_all_bytes() const;

  /// Replaces `letters` by those of `piece`, which is UTF-8 where characters count. What has no
  /// token at all vanishes, so that its neighbours become each other's.
  void spell(std::string_view piece, std::vector<TokenId>& letters) const;

  /// Adds the bytes of `text`, which begins at `offset`, that spell() would leave out.
  void note_dropped(std::string_view text, std::size_t offset, DroppedBytes& dropped) const;

 private:
  class Speller;
  /// The bytes of the letter that `text` begins with.
  std::size_t first_letter(std::string_view text) const;
  TokenId find(std::string_view letter) const;
  bool has_bytes_of(std::string_view letter) const;
  bool drops(std::string_view letter) const;

  Unit unit_;
  std::array<TokenId, 256> of_byte_;
  std::vector<TokenId> of_character_;  // by code point, up to the highest that has a token
  TokenId unknown_ = -1;
  bool fuses_unknown_ = false;
};

}  // namespace longspan
