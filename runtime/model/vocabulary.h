// The tokens that a GGUF file lists, with their kinds, checked.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/model/gguf.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

/// `tokenizer.ggml.token_type`, numbered as there.
enum class TokenKind { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

/// Borrows the file's strings.
class Vocabulary {
 public:
  /// Throws DataError, naming the key, unless tokens are unique, not empty and UTF-8.
  explicit Vocabulary(const GgufFile& file);

  TokenId size() const { return static_cast<TokenId>(tokens_->size()); }
  const std::string& written(TokenId id) const { return (*tokens_)[id]; }
  TokenKind kind(TokenId id) const;
  /// Found as it is written, wherever it stands in a text.
  bool is_special(TokenId id) const;
  /// The token written so, or -1.
  TokenId find(std::string_view written) const;
  /// The id that `key` holds, or -1 without such a key.
  TokenId find_id(std::string_view key) const;

  /// Throws DataError: the file contradicts itself at `key`.
  [[noreturn]] void fail(std::string_view key, std::string_view problem) const;

 private:
  void check_token(TokenId id) const;

  const GgufFile& file_;
  const std::vector<std::string>* tokens_;
  const std::vector<std::int64_t>* types_;  // null: all normal
  std::unordered_map<std::string_view, TokenId> ids_;
};

/// The strings of `key`; DataError when the file has none.
const std::vector<std::string>& require_strings(const GgufFile& file, std::string_view key);

/// The byte that a token written "<0x0A>" stands for: two hexadecimal digits exactly.
std::optional<std::uint8_t> find_written_byte(std::string_view written);

}  // namespace longspan
