// The merging half of byte-pair encoding: a piece starts as its letters' tokens, and as long as two
// neighbours form a known pair, the pair of lowest rank (leftmost among equals) becomes one token.
//
//   symbols  t - h - e - o         a linked list over the piece
//   heap     (rank, position) of every pair that exists or once did; stale ones are skipped
//
// Each merge removes a symbol and adds at most two heap entries: O(n log n) for any text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/tokenizer.h"

namespace longspan {

class BytePairs {
 public:
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

  BytePairs() : BytePairs(0) {}
  /// Room for so many merges.
  explicit BytePairs(std::size_t merges);

  /// Ranks come in ascending order. Merges may share one (pieces of one score): then the leftmost
  /// goes first. False if the pair already has a merge.
  [[nodiscard]] bool add(TokenId left, TokenId right, const Merged& merged);

  std::size_t merges() const { return merges_; }

  /// Appends what becomes of the piece that starts as `letters` (under 2^31 of them).
  void append_merged(std::span<const TokenId> letters, Workspace& workspace,
                     std::vector<TokenId>& tokens) const;

 private:
  struct Slot {
    std::uint64_t pair = kEmpty;
    Merged merged{};
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  const Slot& slot(std::uint64_t pair) const;
  bool is_stale(const Slot& now, std::uint32_t rank) const;
  void push_pair(std::int32_t left, Workspace& workspace) const;
  void merge_all(Workspace& workspace) const;

  std::vector<Slot> slots_;       // open addressing, at most half full
  std::vector<TokenId> by_rank_;  // the first token of each rank
  std::size_t merges_ = 0;
};

}  // namespace longspan
