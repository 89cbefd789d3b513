#include "tests/attention/dense_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "attention/kv_type.h"

namespace longspan::test {
namespace {

double dot(const float* a, const float* b, int count) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

void attend_row(const DenseProblem& problem, const SeesOfHead& sees, std::int64_t row, int head,
                DenseResult& result) {
  const HeadShape& shape = problem.shape;
  const int kv_head = (head + shape.lead) / shape.group();
  const std::int64_t at = row * shape.query_heads + head;
  const auto key_at = [&](std::int64_t key) {
    return (key * shape.kv_heads + kv_head) * shape.head_dim;
  };

  std::vector<std::pair<std::int64_t, double>> scores;
  double top = -std::numeric_limits<double>::infinity();
  for (std::int64_t key = 0; key < problem.keys(); ++key) {
    if (!sees(kv_head, row, key)) continue;
    const double score = problem.scale * dot(&problem.q[at * shape.head_dim],
                                             &problem.k[key_at(key)], shape.head_dim);
    scores.emplace_back(key, score);
    top = std::max(top, score);
  }
  if (scores.empty()) return;

  double* o = &result.o[at * shape.head_dim];
  double sum = 0;
  for (const auto& [key, score] : scores) {
    const double weight = std::exp(score - top);
    sum += weight;
    for (int d = 0; d < shape.head_dim; ++d) o[d] += weight * problem.v[key_at(key) + d];
  }
  for (int d = 0; d < shape.head_dim; ++d) o[d] /= sum;
  result.lse[at] = top + std::log(sum);
}

}  // namespace

DenseResult dense_attention(const DenseProblem& problem, const Sees& sees) {
  return dense_attention(
      problem, SeesOfHead([&](int, std::int64_t row, std::int64_t key) { return sees(row, key); }));
}

DenseResult dense_attention(const DenseProblem& problem, const SeesOfHead& sees) {
  DenseResult result;
  result.o.assign(problem.q.size(), 0);
  result.lse.assign(problem.rows() * problem.shape.query_heads,
                    -std::numeric_limits<double>::infinity());
  for (std::int64_t row = 0; row < problem.rows(); ++row) {
    for (int head = 0; head < problem.shape.query_heads; ++head) {
      attend_row(problem, sees, row, head, result);
    }
  }
  return result;
}

DenseProblem random_problem(const HeadShape& shape, std::int64_t rows, std::int64_t keys,
                            std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto fill = [&](std::int64_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    return values;
  };
  DenseProblem problem{.shape = shape,
                       .scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim)),
                       .q = fill(rows * shape.query_heads * shape.head_dim),
                       .k = fill(keys * shape.kv_heads * shape.head_dim),
                       .v = fill(keys * shape.kv_heads * shape.head_dim)};
  return problem;
}

DenseProblem rounded_to_bfloat16(DenseProblem problem) {
  for (std::vector<float>* values : {&problem.q, &problem.k, &problem.v}) {
    std::vector<std::uint16_t> narrowed(values->size());
    narrow(KvType::kBFloat16, values->data(), std::ssize(*values), narrowed.data());
    widen(KvType::kBFloat16, narrowed.data(), std::ssize(*values), values->data());
  }
  return problem;
}

PagedKv::PagedKv(const DenseProblem& problem, const std::vector<std::int64_t>& keys,
                 std::int64_t page_tokens, std::uint32_t seed)
    : columns_(std::ssize(keys)) {
  const HeadShape& shape = problem.shape;
  view_.page_tokens = page_tokens > 0 ? page_tokens : std::max<std::int64_t>(columns_, 1);
  view_.head_stride = view_.page_tokens * shape.head_dim;
  view_.page_stride = 2 * shape.kv_heads * view_.head_stride;
  const std::int64_t pages = (columns_ + view_.page_tokens - 1) / view_.page_tokens;
  const std::int64_t slots = page_tokens > 0 ? 2 * pages + 1 : 1;
  memory_.assign(slots * view_.page_stride, std::numeric_limits<float>::quiet_NaN());
  view_.k = memory_.data();
  view_.v = memory_.data() + shape.kv_heads * view_.head_stride;
  if (page_tokens > 0) {
    table_.resize(slots);
    std::iota(table_.begin(), table_.end(), 0);
    if (seed == kReversed) {
      std::ranges::reverse(table_);
    } else {
      std::ranges::shuffle(table_, std::mt19937(seed));
    }
    view_.table = table_.data();
  }
  for (std::int64_t column = 0; column < columns_; ++column) {
    for (int head = 0; head < shape.kv_heads; ++head) {
      const std::int64_t from = (keys[column] * shape.kv_heads + head) * shape.head_dim;
      const std::int64_t to = view_.offset(column, head, shape.head_dim);
      std::copy_n(&problem.k[from], shape.head_dim, view_.keys() + to);
      std::copy_n(&problem.v[from], shape.head_dim, view_.values() + to);
    }
  }
}

std::vector<std::int64_t> iota(std::int64_t count) {
  std::vector<std::int64_t> values(count);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

}  // namespace longspan::test
