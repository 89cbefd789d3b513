// Cuts a text at the tokens that are written out in it, before anything else does.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/model/special_tokens.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

/// Hugging Face's AddedToken.
struct AddedToken {
  TokenId id;
  std::string written;        // not empty
  bool normalized = false;    // found in normalised text, not in the text as it came
  bool takes_left = false;    // with the white space before it ("lstrip")
  bool takes_right = false;   // and after it ("rstrip")
  bool only_as_word = false;  // not inside a word ("single_word")
};

/// A part of a text: a token, or plain text between tokens.
struct TextPart {
  std::string_view text;
  TokenId token = -1;  // -1: plain
};

class AddedTokens {
 public:
  // Bound what finding them takes, in steps per byte of a text and in memory; a reader's business.
  static constexpr std::size_t kLongest = 512;        // bytes of one
  static constexpr std::size_t kMostBytes = 4 << 20;  // of all

  AddedTokens() = default;
  /// Each written in its own way.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  bool empty() const { return by_id_.empty(); }
  /// The parts of `text` (UTF-8) in order. Tokens that begin first are found first, of those the
  /// longest; plain parts are not empty.
  std::vector<TextPart> parts(std::string_view text) const;

 private:
  SpecialTokens written_;
  std::unordered_map<TokenId, AddedToken> by_id_;
};

}  // namespace longspan
