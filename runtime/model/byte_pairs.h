// The merging half of byte-pair encoding: a piece starts as its bytes' tokens, and as long as two
// neighbours form a known pair, the pair of lowest rank (leftmost among equals) becomes one token.
//
//   symbols  t - h - e - o         a linked list over the piece
//   heap     (rank, position) of every pair that exists or once did; stale ones are skipped
//
// Each merge removes a symbol and adds at most two heap entries: O(n log n) for any text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/model/tokenizer.h"

namespace longspan {

class BytePairs {
 public:
  /// A token per byte, or -1 where the vocabulary has none.
  using Letters = std::array<TokenId, 256>;

  struct Merged {
    std::uint32_t rank;
    TokenId token;
  };

  /// Memory that merging needs, kept from piece to piece. One per thread.
  struct Workspace {
    struct Symbol {
      TokenId token;  // -1 once merged into the one before
      std::int32_t before;
      std::int32_t after;
    };
    std::vector<Symbol> symbols;
    std::vector<std::uint64_t> heap;
  };

  BytePairs(const Letters& letters, std::size_t merges);

  /// Adds the merge of the next rank. False if the pair already has one.
  [[nodiscard]] bool add(TokenId left, TokenId right, TokenId merged);

  std::size_t merges() const { return merges_; }
  bool has_letter(char byte) const { return letters_[static_cast<unsigned char>(byte)] >= 0; }

  /// Appends the tokens of `piece` (under 2 GiB). Bytes without a letter vanish beforehand, so
  /// that their neighbours become each other's.
  void append_tokens(std::string_view piece, Workspace& workspace,
                     std::vector<TokenId>& tokens) const;

 private:
  struct Slot {
    std::uint64_t pair = kEmpty;
    Merged merged{};
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  const Slot& slot(std::uint64_t pair) const;
  void spell(std::string_view piece, Workspace& workspace) const;
  void push_pair(std::int32_t left, Workspace& workspace) const;
  void merge_all(Workspace& workspace) const;

  Letters letters_;
  std::vector<Slot> slots_;  // open addressing, at most half full
  std::size_t merges_ = 0;
};

}  // namespace longspan
