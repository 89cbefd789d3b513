// The tokens of a byte-level vocabulary as a GGUF file lists them, checked.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/model/byte_pairs.h"
#include "runtime/model/gguf.h"
#include "runtime/model/special_tokens.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

/// Borrows the file's strings.
class Vocabulary {
 public:
  /// Throws DataError, naming the key, unless tokens are unique, not empty and UTF-8.
  explicit Vocabulary(const GgufFile& file);

  /// The bytes each token stands for, by id.
  std::vector<std::string> token_bytes() const;
  SpecialTokens special_tokens() const;
  BytePairs::Letters letters() const;
  /// With every merge that the file lists, in its order.
  BytePairs byte_pairs() const;
  /// The id that `key` holds, or -1 without such a key.
  TokenId find_id(std::string_view key) const;

 private:
  [[noreturn]] void fail(std::string_view key, std::string_view problem) const;
  void check_token(TokenId id) const;
  bool is_special(TokenId id) const;
  TokenId find(std::string_view written) const;
  TokenId require(std::string_view written, std::size_t merge) const;

  const GgufFile& file_;
  const std::vector<std::string>* tokens_;
  const std::vector<std::int64_t>* types_;  // null: all normal
  std::unordered_map<std::string_view, TokenId> ids_;
};

}  // namespace longspan
