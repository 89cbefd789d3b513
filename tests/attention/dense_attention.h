// The oracle: attention in double over rows and keys in their plain order, and pages to hide the
// keys in.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "attention/segment.h"

namespace longspan::test {

struct DenseProblem {
  HeadShape shape;
  float scale = 1;
  std::vector<float> q;  // (rows, query_heads, head_dim)
  std::vector<float> k;  // (keys, kv_heads, head_dim)
  std::vector<float> v;  // (keys, kv_heads, head_dim)

  std::int64_t rows() const { return std::ssize(q) / (shape.query_heads * shape.head_dim); }
  std::int64_t keys() const { return std::ssize(k) / (shape.kv_heads * shape.head_dim); }
};

struct DenseResult {
  std::vector<double> o;    // (rows, query_heads, head_dim)
  std::vector<double> lse;  // (rows, query_heads)
};

/// Does row see key? Indices of the problem, not positions.
using Sees = std::function<bool(std::int64_t row, std::int64_t key)>;

DenseResult dense_attention(const DenseProblem& problem, const Sees& sees);

/// The same where query heads of one KV head may see other keys than those of another.
using SeesOfHead = std::function<bool(int kv_head, std::int64_t row, std::int64_t key)>;
DenseResult dense_attention(const DenseProblem& problem, const SeesOfHead& sees);

/// Normal q, k, v; scale 1 / sqrt(head_dim).
DenseProblem random_problem(const HeadShape& shape, std::int64_t rows, std::int64_t keys,
                            std::uint32_t seed);

/// Every value rounded to bfloat16.
DenseProblem rounded_to_bfloat16(DenseProblem problem);

/// Keys of a problem in pages: slots in random order (with kReversed for a seed in falling order),
/// NaN in every slot and tail that holds none. page_tokens 0: contiguous memory.
class PagedKv {
 public:
  static constexpr std::uint32_t kReversed = 0;

  PagedKv(const DenseProblem& problem, const std::vector<std::int64_t>& keys,
          std::int64_t page_tokens, std::uint32_t seed = 1);

  const KvView& view() const { return view_; }
  /// All slots.
  std::span<float> memory() { return memory_; }
  std::span<const float> memory() const { return memory_; }
  std::int64_t columns() const { return columns_; }
  KvSegment full_segment() const { return {.view = view_, .len = columns_, .positions = {}}; }
  KvSegment causal_segment(const PositionRun& positions) const {
    return {.view = view_, .len = columns_, .mask = Mask::causal(), .positions = positions};
  }

 private:
  std::int64_t columns_;
  std::vector<float> memory_;  // slots of (K or V, kv_heads, page_tokens, head_dim)
  std::vector<std::int32_t> table_;
  KvView view_;
};

/// 0, 1, ..., count - 1
std::vector<std::int64_t> iota(std::int64_t count);

}  // namespace longspan::test
