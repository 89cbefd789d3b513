// The blocks of keys that each block of query rows attends to, by KV head (block-sparse prefill).
//
// A block stands for its rows by the mean of their queries and of their keys. The softmax of a
// query block's mean over the key blocks' means estimates how much attention each gets; heads that
// share a KV head take the mean of theirs. The first block and the row's own are always attended;
// the others join in falling order until their shares sum up to `block_mass` (pooled means with a
// cumulative threshold: FlexPrefill, arXiv 2502.20766; pooled means: MInference, arXiv 2407.02490).
//
//   compute | sum own rows by block | sums to and from all | scores, softmax, choice | attend ...
//
// Sums are of doubles, exact for values of similar size, so that who sums what changes next to
// nothing; means and scores are the same bits on every rank, since all add the sums in rank order.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/key_chooser.h"

namespace longspan {

class BlockChooser final : public KeyChooser {
 public:
  BlockChooser(Device& device, const HeadShape& shape, const Approximation& approximation,
               const PrefillLimits& limits);
  static std::size_t memory_bytes(const HeadShape& shape, const Approximation& approximation,
                                  const PrefillLimits& limits);

  KeyChoice choice(std::int64_t tokens) const override;
  void choose(Stream& compute, const Group& group, const SplitChunk& chunk,
              const ChunkRows& rows) override;

 private:
  /// What one rank says: the blocks it has rows of, and their sums.
  struct Said {
    std::vector<std::int64_t> blocks;
    double* sums = nullptr;  // (blocks, query_heads + kv_heads, head_dim)
  };

  std::int64_t width() const;
  std::vector<Said> lay_out(const SplitChunk& chunk) const;
  void pool(const SplitChunk& chunk, const ChunkRows& rows, const Said& own) const;
  void merge(std::int64_t tokens, const std::vector<Said>& said) const;

  HeadShape shape_;
  std::int64_t block_;
  double mass_;
  Buffer sums_;    // of all ranks, then their total
  Buffer chosen_;  // as KeyChoice has it
};

}  // namespace longspan
