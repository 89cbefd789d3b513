#include "tests/attention/random_sequence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace longspan::test {
namespace {

std::vector<float> random_values(std::int64_t count, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace

RandomSequence::RandomSequence(const HeadShape& shape, std::int64_t tokens, int seed,
                               const Pattern& pattern)
    : shape_(shape),
      tokens_(tokens),
      pattern_(pattern),
      q_(random_values(tokens * q_width(), 3 * seed)),
      k_(random_values(tokens * shape.kv_heads * shape.head_dim, 3 * seed + 1)),
      v_(random_values(tokens * shape.kv_heads * shape.head_dim, 3 * seed + 2)),
      rows_(std::make_unique<Row[]>(tokens)) {}

float RandomSequence::scale(const HeadShape& shape) {
  return 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
}

const float* RandomSequence::key(std::int64_t position, int head) const {
  return &k_[(position * shape_.kv_heads + head) * shape_.head_dim];
}

const float* RandomSequence::value(std::int64_t position, int head) const {
  return &v_[(position * shape_.kv_heads + head) * shape_.head_dim];
}

void RandomSequence::store(std::int64_t position, const KvView& to, std::int64_t column,
                           float factor) const {
  for (int head = 0; head < shape_.kv_heads; ++head) {
    const std::int64_t at = to.offset(column, head, shape_.head_dim) * value_bytes(to.type);
    std::vector<float> scaled(value(position, head), value(position, head) + shape_.head_dim);
    for (float& v : scaled) v *= factor;
    narrow(to.type, key(position, head), shape_.head_dim, static_cast<std::byte*>(to.k) + at);
    narrow(to.type, scaled.data(), shape_.head_dim, static_cast<std::byte*>(to.v) + at);
  }
}

bool RandomSequence::stored(std::int64_t position, const KvView& from, std::int64_t column) const {
  for (int head = 0; head < shape_.kv_heads; ++head) {
    const std::int64_t at = from.offset(column, head, shape_.head_dim);
    if (!std::equal(from.keys() + at, from.keys() + at + shape_.head_dim, key(position, head)) ||
        !std::equal(from.values() + at, from.values() + at + shape_.head_dim,
                    value(position, head))) {
      return false;
    }
  }
  return true;
}

const std::vector<double>& RandomSequence::expected(std::int64_t position) const {
  Row& row = rows_[position];
  std::call_once(row.once, [&] {
    std::vector<std::int64_t> seen;
    for (std::int64_t key = 0; key < tokens_; ++key) {
      if (pattern_.sees(position, key)) seen.push_back(key);
    }
    row.values = over(position, seen);
  });
  return row.values;
}

std::vector<double> RandomSequence::expected(std::int64_t position, std::int64_t end) const {
  std::vector<std::int64_t> keys(end);
  std::iota(keys.begin(), keys.end(), 0);
  return over(position, keys);
}

std::vector<double> RandomSequence::over(std::int64_t position,
                                         std::span<const std::int64_t> keys) const {
  const int dim = shape_.head_dim;
  std::vector<double> row(q_width());
  std::vector<double> weight(keys.size());
  for (int head = 0; head < shape_.query_heads; ++head) {
    const float* query = q(position) + head * dim;
    const int kv_head = head / shape_.group();
    for (std::size_t i = 0; i < keys.size(); ++i) {
      double dot = 0;
      for (int d = 0; d < dim; ++d) dot += double{query[d]} * key(keys[i], kv_head)[d];
      weight[i] = dot * scale(shape_);
    }
    const double most = *std::ranges::max_element(weight);
    double sum = 0;
    for (double& w : weight) sum += w = std::exp(w - most);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const double share = weight[i] / sum;
      for (int d = 0; d < dim; ++d) row[head * dim + d] += share * value(keys[i], kv_head)[d];
    }
  }
  return row;
}

double worst_error(const float* row, std::span<const double> expected) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(row[i] - expected[i]);
    if (!(error <= worst))
      worst = std::isfinite(error) ? error : std::numeric_limits<double>::infinity();
  }
  return worst;
}

}  // namespace longspan::test
