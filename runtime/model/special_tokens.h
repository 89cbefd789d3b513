// Finds tokens that are written out in text, such as "<|im_start|>", before anything else cuts it.
//
// A trie, walked from each byte that can begin a token: at most the longest token's length per
// byte of text, and almost always one comparison.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/model/tokenizer.h"

namespace longspan {

class SpecialTokens {
 public:
  struct Match {
    std::size_t begin;
    std::size_t end;
    TokenId id;
  };

  SpecialTokens() : nodes_(1) {}

  /// `written` is not empty; of two alike the first counts.
  void add(std::string_view written, TokenId id);

  /// The first match at or after `from`; of those that begin there, the longest.
  std::optional<Match> find(std::string_view text, std::size_t from) const;

 private:
  struct Node {
    std::vector<std::pair<char, std::uint32_t>> children;
    TokenId id = -1;
  };

  std::optional<std::uint32_t> child(std::uint32_t node, char byte) const;
  std::optional<Match> match_at(std::string_view text, std::size_t begin) const;

  std::vector<Node> nodes_;  // the root first
  std::array<bool, 256> begins_{};
};

}  // namespace longspan
