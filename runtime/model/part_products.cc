#include "runtime/model/part_products.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "runtime/model/model_part.h"

namespace longspan {
namespace {

/// What the other ranks' sums of `values` values take up.
std::int64_t sums_values(std::int64_t values, int ranks) {
  const std::int64_t few = std::min(values, PartProducts::kFewValues);
  const std::int64_t largest_piece = (values + ranks - 1) / ranks;
  return (ranks - 1) * area_values(std::max(few, largest_piece));
}

}  // namespace

PartProducts::PartProducts(Device& device, const ModelConfig& config, ModelOps& ops, Group instance,
                           const PartLimits& limits)
    : device_(device),
      config_(config),
      ops_(ops),
      instance_(std::move(instance)),
      scratch_(device.allocate(memory_bytes(config, limits))) {
  expects(instance_.rank() == config.part.index && instance_.size() == config.part.ranks,
          "the instance holds the parts in order");
}

std::size_t PartProducts::memory_bytes(const ModelConfig& config, const PartLimits& limits) {
  const int ranks = config.part.ranks;
  if (ranks == 1) return 0;
  const std::int64_t values = limits.rows * config.hidden;
  const std::int64_t logits =
      limits.logit_rows * vocabulary_slice(config.vocabulary, config.part).count;
  return sizeof(float) *
         std::max(area_values(values) + sums_values(values, ranks), area_values(logits));
}

void PartProducts::add_product(Stream& compute, const float* x, std::int64_t rows,
                               const PackedMatrix& w, float* out) {
  add(compute, rows, out,
      [&](float* to, Output output) { ops_.matmul(compute, x, rows, w, to, output); });
}

void PartProducts::add(Stream& compute, std::int64_t rows, float* out,
                       const std::function<void(float*, Output)>& own_summand) {
  if (instance_.size() == 1) return own_summand(out, Output::kAccumulate);
  if (rows == 0) return;
  const std::int64_t values = rows * config_.hidden;
  Scratch scratch(scratch_);
  float* own = scratch.take(values);
  own_summand(own, Output::kOverwrite);
  values <= kFewValues ? add_few(compute, own, values, scratch, out)
                       : add_many(compute, own, values, scratch, out);
}

void PartProducts::add_few(Stream& compute, const float* own, std::int64_t values, Scratch& scratch,
                           float* out) {
  std::vector<Send> sends;
  std::vector<Receive> receives;
  std::vector<const float*> parts;  // in rank order
  for (int j = 0; j < instance_.size(); ++j) {
    if (j == instance_.rank()) {
      parts.push_back(own);
      continue;
    }
    parts.push_back(scratch.take(values));
    sends.push_back({j, message_bytes(own, values)});
    receives.push_back({j, message_bytes(parts.back(), values)});
  }
  instance_.exchange(compute, std::move(sends), std::move(receives));
  ops_.add_sum(compute, std::move(parts), values, out);
}

// The own piece is added to `out` before it is passed on, so that the others' pieces land there.
void PartProducts::add_many(Stream& compute, const float* own, std::int64_t values,
                            Scratch& scratch, float* out) {
  const Piece mine = piece(values, instance_.rank(), instance_.size());
  std::vector<Send> sums, totals;
  std::vector<Receive> sums_in, totals_in;
  std::vector<const float*> parts;  // in rank order
  for (int j = 0; j < instance_.size(); ++j) {
    if (j == instance_.rank()) {
      parts.push_back(own + mine.first);
      continue;
    }
    const Piece theirs = piece(values, j, instance_.size());
    parts.push_back(scratch.take(mine.count));
    sums.push_back({j, message_bytes(own + theirs.first, theirs.count)});
    sums_in.push_back({j, message_bytes(parts.back(), mine.count)});
    totals.push_back({j, message_bytes(out + mine.first, mine.count)});
    totals_in.push_back({j, message_bytes(out + theirs.first, theirs.count)});
  }
  instance_.exchange(compute, std::move(sums), std::move(sums_in));
  ops_.add_sum(compute, std::move(parts), mine.count, out + mine.first);
  instance_.exchange(compute, std::move(totals), std::move(totals_in));
}

PartProducts::Piece PartProducts::piece(std::int64_t values, int part, int parts) {
  const std::int64_t first = values * part / parts;
  return {first, values * (part + 1) / parts - first};
}

// A message per row and rank, so that each lands where it belongs.
void PartProducts::logits(Stream& compute, const float* x, std::int64_t rows, const PackedMatrix& w,
                          float* out) {
  if (instance_.size() == 1) return ops_.matmul(compute, x, rows, w, out, Output::kOverwrite);
  const auto slice = [&](int j) {
    return vocabulary_slice(config_.vocabulary, {j, instance_.size()});
  };
  const Slice own = slice(instance_.rank());
  Scratch scratch(scratch_);
  float* part = scratch.take(rows * own.count);
  ops_.matmul(compute, x, rows, w, part, Output::kOverwrite);
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (std::int64_t row = 0; row < rows; ++row) {
    if (instance_.rank() > 0) {
      sends.push_back({0, message_bytes(part + row * own.count, own.count)});
      continue;
    }
    for (int j = 1; j < instance_.size(); ++j) {
      float* to = out + row * config_.vocabulary + slice(j).first;
      receives.push_back({j, message_bytes(to, slice(j).count)});
    }
  }
  instance_.exchange(compute, std::move(sends), std::move(receives));
  if (instance_.rank() > 0) return;
  device_.copy_rows(compute, reinterpret_cast<std::byte*>(out + own.first),
                    config_.vocabulary * sizeof(float), reinterpret_cast<const std::byte*>(part),
                    own.count * sizeof(float), own.count * sizeof(float), rows);
}

Sent PartProducts::layer_sent(const ModelConfig& config, std::int64_t rows) {
  const int ranks = config.part.ranks;
  const std::int64_t values = rows * config.hidden, others = ranks - 1;
  if (others == 0 || rows == 0) return {};
  Sent product{.bytes = others * values, .messages = others};
  if (values > kFewValues) {
    const std::int64_t mine = piece(values, config.part.index, ranks).count;
    product = {.bytes = values - mine + others * mine, .messages = 2 * others};
  }
  return {.bytes = 2 * product.bytes * static_cast<std::int64_t>(sizeof(float)),
          .messages = 2 * product.messages};
}

Sent PartProducts::logits_sent(const ModelConfig& config, std::int64_t rows) {
  if (config.part.index == 0) return {};
  const std::int64_t tokens = vocabulary_slice(config.vocabulary, config.part).count;
  return {.bytes = rows * tokens * static_cast<std::int64_t>(sizeof(float)), .messages = rows};
}

}  // namespace longspan
