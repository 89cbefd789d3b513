// A sequence of random queries, keys and values, and what attention over it must give: dense, one
// row at a time, in double. Slow and obvious; everything distributed is compared with it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "attention/segment.h"
#include "tests/attention/pattern.h"

namespace longspan::test {

class RandomSequence {
 public:
  RandomSequence(const HeadShape& shape, std::int64_t tokens, int seed,
                 const Pattern& pattern = Mask::causal());

  const HeadShape& shape() const { return shape_; }
  std::int64_t tokens() const { return tokens_; }
  const Mask& mask() const { return pattern_.mask; }
  static float scale(const HeadShape& shape);

  const float* q(std::int64_t position) const { return &q_[position * q_width()]; }
  /// Writes K and V (times `factor`) of `position` to `column` of `to`, as a projection does.
  void store(std::int64_t position, const KvView& to, std::int64_t column, float factor = 1) const;
  /// Whether `column` of `from` holds K and V of `position`, bit for bit.
  bool stored(std::int64_t position, const KvView& from, std::int64_t column) const;

  /// Row `position` over all keys below `end`: (query_heads, head_dim).
  std::vector<double> expected(std::int64_t position, std::int64_t end) const;
  /// Row `position` over what it sees, which is not full: its own key is the last it sees. Worked
  /// out once, by any thread.
  const std::vector<double>& expected(std::int64_t position) const;

  int q_width() const { return shape_.query_heads * shape_.head_dim; }

 private:
  const float* key(std::int64_t position, int head) const;
  const float* value(std::int64_t position, int head) const;
  std::vector<double> over(std::int64_t position, std::span<const std::int64_t> keys) const;

  HeadShape shape_;
  std::int64_t tokens_;
  Pattern pattern_;
  std::vector<float> q_;  // (tokens, query_heads, head_dim)
  std::vector<float> k_;  // (tokens, kv_heads, head_dim)
  std::vector<float> v_;

  /// Rows that were asked for.
  struct Row {
    std::once_flag once;
    std::vector<double> values;
  };
  std::unique_ptr<Row[]> rows_;
};

/// Largest |a - b| over the row; infinity when a value is not finite.
double worst_error(const float* row, std::span<const double> expected);

}  // namespace longspan::test
