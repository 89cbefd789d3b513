#include "runtime/model/sliced_products.h"

#include <algorithm>
#include <utility>

#include "comm/error.h"

namespace longspan {
namespace {

/// The largest share of two ranks or more.
std::int64_t largest_share(std::int64_t width) {
  return std::min<std::int64_t>(width, width / 2 + SlicedProducts::kCut);
}

void copy_columns(Device& device, Stream& compute, float* to, std::int64_t to_width,
                  const float* from, std::int64_t from_width, std::int64_t columns,
                  std::int64_t rows) {
  device.copy_rows(compute, reinterpret_cast<std::byte*>(to), to_width * sizeof(float),
                   reinterpret_cast<const std::byte*>(from), from_width * sizeof(float),
                   columns * sizeof(float), rows);
}

auto share_of(int width, int ranks) {
  return [=](int j) { return even_slice(width, SlicedProducts::kCut, j, ranks); };
}

/// Inputs of the output projection: those of a rank's heads.
auto share_of_heads(const HeadShape& heads, int ranks) {
  return [=](int j) {
    const Slice of_rank = even_slice(heads.query_heads, 1, j, ranks);
    return Slice{of_rank.first * heads.head_dim, of_rank.count * heads.head_dim};
  };
}

/// Outputs of QKV, dealt from the other end than heads and the rest: where widths do not divide
/// evenly, the larger shares fall to different ranks.
auto share_of_qkv(int width, int ranks) {
  return [=](int j) { return share_of(width, ranks)(ranks - 1 - j); };
}

int qkv_width(const ModelConfig& config) { return config.q_width() + 2 * config.kv_width(); }

/// The functions below take turns in one piece of memory: the most that one of them takes.
std::int64_t scratch_values(const ModelConfig& config, const SlicedLimits& limits) {
  const std::int64_t gathered = limits.rows * qkv_width(config);
  const std::int64_t sums = limits.ranks * area_values(limits.rows * config.hidden);
  const std::int64_t mlp = 3 * area_values(limits.rows * largest_share(config.ffn));
  const std::int64_t logits = area_values(limits.logit_rows * largest_share(config.vocabulary));
  return std::max({gathered + limits.ranks * area_values(1), sums + mlp, logits});
}

}  // namespace

SlicedProducts::SlicedProducts(Device& device, const ModelConfig& config, ModelOps& ops,
                               const SlicedLimits& limits)
    : device_(device),
      config_(config),
      ops_(ops),
      scratch_(device.allocate(memory_bytes(config, limits))) {}

std::size_t SlicedProducts::memory_bytes(const ModelConfig& config, const SlicedLimits& limits) {
  return sizeof(float) * scratch_values(config, limits);
}

// One row lies in `out` as it arrives; several arrive rank by rank and are dealt out.
void SlicedProducts::qkv(Stream& compute, const Group& group, const float* x, std::int64_t rows,
                         const LayerWeights& layer, float* normed, float* out) {
  const int width = layer.qkv.layout->outputs();
  const auto share = share_of_qkv(width, group.size());
  Scratch scratch(scratch_);
  std::vector<float*> part(group.size());
  for (int j = 0; j < group.size(); ++j) {
    part[j] = rows == 1 ? out + share(j).first : scratch.take(rows * share(j).count);
  }
  const Slice own = share(group.rank());
  if (own.count > 0) {
    ops_.normed_matmul(compute, x, rows, layer.attention_norm, slice_outputs(layer.qkv, own),
                       normed, part[group.rank()]);
  }
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (int j = 0; j < group.size(); ++j) {
    if (j == group.rank()) continue;
    sends.push_back({j, message_bytes(part[group.rank()], rows * own.count)});
    receives.push_back({j, message_bytes(part[j], rows * share(j).count)});
  }
  group.exchange(compute, std::move(sends), std::move(receives));
  if (rows == 1) return;
  for (int j = 0; j < group.size(); ++j) {
    const Slice columns = share(j);
    if (columns.count == 0) continue;
    copy_columns(device_, compute, out + columns.first, width, part[j], columns.count,
                 columns.count, rows);
  }
}

void SlicedProducts::attention_output(Stream& compute, const Group& group, const float* mixed,
                                      const Slice& heads, std::int64_t rows, const PackedMatrix& w,
                                      float* hidden) {
  const int dim = config_.heads.head_dim;
  const auto share = share_of_heads(config_.heads, group.size());
  expects(share(group.rank()) == Slice{heads.first * dim, heads.count * dim},
          "attention and projection deal heads alike");
  Scratch scratch(scratch_);
  float* own = scratch.take(rows * config_.hidden);
  if (heads.count > 0) {
    ops_.matmul_slice(compute, mixed, rows, slice_inputs(w, share(group.rank())), own,
                      Output::kOverwrite);
  }
  add_sums(compute, group, share, own, rows * config_.hidden, scratch, hidden);
}

void SlicedProducts::mlp(Stream& compute, const Group& group, const float* x, std::int64_t rows,
                         const LayerWeights& layer, float* normed, float* hidden) {
  const auto share = share_of(config_.ffn, group.size());
  const Slice columns = share(group.rank());
  Scratch scratch(scratch_);
  float* own = scratch.take(rows * config_.hidden);
  if (columns.count > 0) {
    const std::int64_t values = rows * columns.count;
    float* gate_up = scratch.take(2 * values);
    float* active = scratch.take(values);
    ops_.feed_forward(compute, x, rows,
                      {layer.ffn_norm, layer.gate_up, config_.activation, layer.down, columns},
                      {normed, gate_up, active}, own, Output::kOverwrite);
  }
  add_sums(compute, group, share, own, rows * config_.hidden, scratch, hidden);
}

void SlicedProducts::add_sums(Stream& compute, const Group& group, const Share& inputs,
                              const float* own, std::int64_t values, Scratch& scratch, float* out) {
  std::vector<Send> sends;
  std::vector<Receive> receives;
  std::vector<const float*> parts;  // in rank order
  const auto has_sum = [&](int j) { return inputs(j).count > 0; };
  for (int j = 0; j < group.size(); ++j) {
    if (j == group.rank()) {
      if (has_sum(j)) parts.push_back(own);
      continue;
    }
    if (has_sum(group.rank())) sends.push_back({j, message_bytes(own, values)});
    if (!has_sum(j)) continue;
    parts.push_back(scratch.take(values));
    receives.push_back({j, message_bytes(parts.back(), values)});
  }
  group.exchange(compute, std::move(sends), std::move(receives));
  ops_.add_sum(compute, std::move(parts), values, out);
}

// A message per row and rank, so that each lands where it belongs.
void SlicedProducts::logits(Stream& compute, const Group& group, const float* x, std::int64_t rows,
                            const std::vector<int>& masters, const PackedMatrix& w, float* out) {
  const std::int64_t width = config_.vocabulary;
  const auto share = share_of(config_.vocabulary, group.size());
  const Slice own = share(group.rank());
  Scratch scratch(scratch_);
  float* part = scratch.take(rows * own.count);
  if (own.count > 0) {
    ops_.matmul_slice(compute, x, rows, slice_outputs(w, own), part, Output::kOverwrite);
  }
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* of_row = part + row * own.count;
    if (masters[row] != group.rank()) {
      sends.push_back({masters[row], message_bytes(of_row, own.count)});
      continue;
    }
    float* to = out + row * width;
    if (own.count > 0) {
      copy_columns(device_, compute, to + own.first, width, of_row, own.count, own.count, 1);
    }
    for (int j = 0; j < group.size(); ++j) {
      if (j == group.rank()) continue;
      receives.push_back({j, message_bytes(to + share(j).first, share(j).count)});
    }
  }
  group.exchange(compute, std::move(sends), std::move(receives));
}

Sent SlicedProducts::layer_sent(const ModelConfig& config, int rank, int ranks, std::int64_t rows) {
  Sent sent;
  const auto add = [&](std::int64_t values) {
    sent.bytes += (ranks - 1) * values * static_cast<std::int64_t>(sizeof(float));
    sent.messages += values > 0 ? ranks - 1 : 0;
  };
  add(rows * share_of_qkv(qkv_width(config), ranks)(rank).count);
  if (share_of_heads(config.heads, ranks)(rank).count > 0) add(rows * config.hidden);
  if (share_of(config.ffn, ranks)(rank).count > 0) add(rows * config.hidden);
  return sent;
}

Sent SlicedProducts::logits_sent(const ModelConfig& config, int rank, int ranks,
                                 const std::vector<int>& masters) {
  const std::int64_t values = share_of(config.vocabulary, ranks)(rank).count;
  const std::int64_t rows = std::ssize(masters) - std::ranges::count(masters, rank);
  return {.bytes = rows * values * static_cast<std::int64_t>(sizeof(float)),
          .messages = values > 0 ? rows : 0};
}

}  // namespace longspan
