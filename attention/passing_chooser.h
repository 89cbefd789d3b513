// The tokens of each block that later blocks' rows attend to as well, by KV head ("passing" keys of
// APB, arXiv 2502.12085, without its trained compressor).
//
// The block's last queries say which of its keys matter, as in SnapKV (arXiv 2404.14469): a key's
// score is its product with the sum of the last `observed_tokens` queries of its block, of all
// heads that share the KV head; the best `passing_tokens` of the block pass, of equal scores the
// earlier ones. Keys of the anchor take no part: everybody sees them.
//
//   compute | sum observed queries | to and from all | score own keys | to and from all | choose
//
// Sums are of doubles, as in block_chooser.h.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/key_chooser.h"

namespace longspan {

class PassingChooser final : public KeyChooser {
 public:
  PassingChooser(Device& device, const HeadShape& shape, const Approximation& approximation,
                 const PrefillLimits& limits);
  static std::size_t memory_bytes(const HeadShape& shape, const Approximation& approximation,
                                  const PrefillLimits& limits);

  KeyChoice choice(std::int64_t tokens) const override;
  void choose(Stream& compute, const Group& group, const SplitChunk& chunk,
              const ChunkRows& rows) override;

 private:
  /// What one rank says: sums of the observed queries it has, of these blocks, and its keys'
  /// scores.
  struct Said {
    std::vector<std::int64_t> positions;  // of its rows
    std::vector<std::int64_t> blocks;     // ascending
    std::span<double> sums;               // (blocks, kv_heads, head_dim)
    std::span<double> scores;             // (rows, kv_heads)
  };
  struct Plan {
    std::vector<Said> said;
    std::span<double> total;  // (blocks of the prompt, kv_heads, head_dim)
  };

  std::int64_t width() const { return 1LL * shape_.kv_heads * shape_.head_dim; }
  bool is_observed(std::int64_t position) const;
  Plan lay_out(const SplitChunk& chunk) const;
  void sum_queries(const Said& own, const ChunkRows& rows) const;
  void score_keys(const Plan& plan, int rank, const ChunkRows& rows) const;
  void choose_best(const Plan& plan, std::int64_t tokens) const;

  HeadShape shape_;
  Approximation sizes_;
  Buffer values_;  // of all ranks
  Buffer chosen_;  // (kv_heads, tokens)
};

}  // namespace longspan
