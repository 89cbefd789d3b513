#include "runtime/model/transformer.h"

#include "comm/error.h"

namespace longspan {
namespace {

std::size_t floats(std::int64_t rows, std::int64_t width) { return sizeof(float) * rows * width; }

DecodeLimits decode_limits(const Transformer::Limits& limits) {
  return {.rows = limits.decode_rows, .ranks = limits.prefill.ranks};
}

SlicedLimits sliced_limits(const Transformer::Limits& limits) {
  return {
      .rows = limits.decode_rows, .logit_rows = limits.logit_rows, .ranks = limits.prefill.ranks};
}

bool may_slice(const Transformer::Limits& limits) {
  return limits.decode_strategies.contains(DecodeStrategy::kSliced) && limits.prefill.ranks > 1;
}

bool may_balance(const Transformer::Limits& limits) {
  const Approximation& attention = limits.attention;
  return attention.kind == AttentionKind::kBlockSparse && attention.balances_rows &&
         limits.prefill.ranks > 1;
}

/// Rows whose products this rank computes whole: all, or those of the chunk.
std::int64_t whole_rows(const ForwardStep& step) {
  return step.is_sliced() ? step.chunk_rows() : step.rows();
}

}  // namespace

Transformer::Transformer(Device& device, const ModelConfig& config, const ModelWeights& weights,
                         ModelOps& ops, AttentionKernels& kernels, KvPagePool& pool,
                         const Limits& limits)
    : config_(config),
      weights_(weights),
      ops_(ops),
      kernels_(kernels),
      pool_(pool),
      limits_(limits),
      rope_(config.rope_base, config.heads.head_dim),
      angles_(device.allocate(floats(limits.rows, config.heads.head_dim))),
      hidden_(device.allocate(floats(limits.rows, config.hidden))),
      normed_(device.allocate(floats(limits.rows, config.hidden))),
      qkv_(device.allocate(floats(limits.rows, config.q_width() + 2 * config.kv_width()))),
      q_(device.allocate(floats(limits.rows, config.q_width()))),
      mixed_(device.allocate(floats(limits.rows, config.q_width()))),
      softmax_(device.allocate(floats(2 * limits.rows, config.heads.query_heads))),
      gate_up_(device.allocate(floats(limits.rows, 2 * config.ffn))),
      active_(device.allocate(floats(limits.rows, config.ffn))),
      chosen_(device.allocate(floats(limits.logit_rows, config.hidden))),
      logits_(device.allocate(floats(limits.logit_rows, config.vocabulary))),
      chooser_(new_key_chooser(device, kernels, limits.attention, limits.prefill)),
      prefill_(device, kernels, limits.prefill, limits.strategies),
      decode_(device, kernels, decode_limits(limits), limits.decode_strategies) {
  if (may_balance(limits)) {
    balancer_.emplace(device, config.heads, limits.prefill, limits.attention.block_tokens);
  }
  if (may_slice(limits)) sliced_.emplace(device, config, ops, sliced_limits(limits));
}

std::size_t Transformer::memory_bytes(const ModelConfig& config, const Limits& limits) {
  const std::int64_t row = config.heads.head_dim + 2 * config.hidden + 3 * config.q_width() +
                           2 * config.kv_width() + 2 * config.heads.query_heads + 3 * config.ffn;
  return floats(limits.rows, row) + floats(limits.logit_rows, config.hidden + config.vocabulary) +
         chooser_bytes(config.heads, limits.attention, limits.prefill) +
         (may_balance(limits) ? RowBalancer::memory_bytes(config.heads, limits.prefill,
                                                          limits.attention.block_tokens)
                              : 0) +
         PrefillStrategies::memory_bytes(config.heads, limits.prefill, limits.strategies) +
         DecodeStrategies::memory_bytes(config.heads, decode_limits(limits),
                                        limits.decode_strategies) +
         (may_slice(limits) ? SlicedProducts::memory_bytes(config, sliced_limits(limits)) : 0);
}

void Transformer::forward(Stream& compute, const ForwardStep& step, const LayerDone& layer_done) {
  const std::int64_t rows = step.rows();
  expects(rows <= limits_.rows, "the step fits the memory planned for it");
  float* hidden = hidden_.as<float>().data();
  float* normed = normed_.as<float>().data();
  float* qkv = qkv_.as<float>().data();
  float* angles = angles_.as<float>().data();
  const QkvRows qkv_rows{.qkv = qkv, .angles = angles, .rows = rows, .heads = config_.heads};

  ops_.embed(compute, weights_.embedding(), step.tokens, hidden);
  ops_.rope_angles(compute, rope_, step.positions, angles);
  for (int l = 0; l < config_.layers; ++l) {
    const StreamSpan span(compute, {"layer", TraceCategory::kStep, {{"layer", l}}});
    const LayerWeights& layer = weights_.layer(l);
    ops_.rms_norm(compute, hidden, rows, layer.attention_norm, normed);
    project(compute, step, layer);
    ops_.rope_and_store(compute, qkv_rows, q_.as<float>().data(), targets(step, l));
    attention(compute, step, l);
    attention_output(compute, step, layer);
    mlp(compute, step, layer);
    if (layer_done) compute.call([layer_done, l] { layer_done(l); });
  }
  ops_.rms_norm(compute, hidden, rows, weights_.output_norm(), normed);
}

void Transformer::project(Stream& compute, const ForwardStep& step, const LayerWeights& layer) {
  const std::int64_t whole = whole_rows(step);
  const float* normed = normed_.as<float>().data();
  float* qkv = qkv_.as<float>().data();
  if (whole > 0) ops_.matmul(compute, normed, whole, layer.qkv, qkv, Output::kOverwrite);
  if (step.is_sliced()) {
    sliced_->gather(compute, step.group, normed + whole * config_.hidden, step.decode_rows(),
                    layer.qkv, qkv + whole * layer.qkv.layout->outputs());
  }
}

/// Chunk rows store into the rank's own stream, which retention then copies to pages; a decode row
/// stores into its page at once.
std::vector<KvTarget> Transformer::targets(const ForwardStep& step, int layer) {
  std::vector<KvTarget> out;
  const std::int64_t chunk_rows = step.chunk_rows();
  if (chunk_rows > 0) {
    const PrefillAttention& prefill = prefill_.use(step.strategy);
    const SplitChunk& chunk = step.chunks[config_.masks.index(layer)];
    out.push_back({0, chunk_rows, prefill.own_stream(chunk), prefill.column0(chunk)});
  }
  for (const DecodeTarget& target : step.targets) {
    KvView view = pool_.layer(layer);
    view.table = target.slots->data();
    out.push_back({chunk_rows + target.row, 1, view, target.column});
  }
  return out;
}

void Transformer::attention(Stream& compute, const ForwardStep& step, int layer) {
  const std::int64_t rows = step.chunk_rows();
  const float* q = q_.as<float>().data();
  float* mixed = mixed_.as<float>().data();
  const KvView pages = pool_.layer(layer);
  const int mask = config_.masks.index(layer);
  if (!step.chunks.empty()) prefill(compute, step, step.chunks[mask], pages);
  const DecodeBatch& decode = step.decode[mask];
  if (!decode.rows.empty()) {
    const std::int64_t done = rows * config_.q_width();
    decode_.use(step.decode_strategy)
        .run(compute, step.group, decode, pages, q + done, mixed + done);
  }
}

void Transformer::prefill(Stream& compute, const ForwardStep& step, const SplitChunk& chunk,
                          const KvView& pages) {
  const float* q = q_.as<float>().data();
  float* m = softmax_.as<float>().data();
  const RunningState state{mixed_.as<float>().data(), m,
                           m + limits_.rows * config_.heads.query_heads};
  PrefillAttention& strategy = prefill_.use(step.strategy);
  const bool chosen = chunk.mask.needs_choice();
  if (chosen) {
    chooser_->choose(compute, step.group, chunk,
                     {q, strategy.own_stream(chunk), strategy.column0(chunk)});
  }
  if (chosen && balancer_ && passes_keys(step.strategy)) {
    balancer_->run(strategy, compute, step.group, chunk, pages, q, state);
  } else {
    strategy.run(compute, step.group, chunk, pages, q, state);
  }
}

void Transformer::attention_output(Stream& compute, const ForwardStep& step,
                                   const LayerWeights& layer) {
  const std::int64_t whole = whole_rows(step);
  const float* mixed = mixed_.as<float>().data();
  float* hidden = hidden_.as<float>().data();
  if (whole > 0) {
    ops_.matmul(compute, mixed, whole, layer.attention_output, hidden, Output::kAccumulate);
  }
  if (step.is_sliced()) {
    sliced_->attention_output(compute, step.group, mixed + whole * config_.q_width(),
                              decode_.use(step.decode_strategy).heads(step.decode.front()),
                              step.decode_rows(), layer.attention_output,
                              hidden + whole * config_.hidden);
  }
}

void Transformer::mlp(Stream& compute, const ForwardStep& step, const LayerWeights& layer) {
  const std::int64_t whole = whole_rows(step);
  float* hidden = hidden_.as<float>().data();
  float* normed = normed_.as<float>().data();
  float* gate_up = gate_up_.as<float>().data();
  float* active = active_.as<float>().data();
  ops_.rms_norm(compute, hidden, step.rows(), layer.ffn_norm, normed);
  if (whole > 0) {
    ops_.matmul(compute, normed, whole, layer.gate_up, gate_up, Output::kOverwrite);
    ops_.swiglu(compute, gate_up, whole, config_.ffn, active);
    ops_.matmul(compute, active, whole, layer.down, hidden, Output::kAccumulate);
  }
  if (step.is_sliced()) {
    sliced_->mlp(compute, step.group, normed + whole * config_.hidden, step.decode_rows(), layer,
                 hidden + whole * config_.hidden);
  }
}

std::int64_t Transformer::bad_lse_total() const {
  return kernels_.bad_lse_total() + decode_.bad_lse_total();
}

const float* Transformer::logits(Stream& compute, std::span<const std::int64_t> rows) {
  expects(std::ssize(rows) <= limits_.logit_rows, "the rows fit the logits' memory");
  float* chosen = chosen_.as<float>().data();
  float* out = logits_.as<float>().data();
  ops_.gather_rows(compute, normed_.as<float>().data(), config_.hidden, {rows.begin(), rows.end()},
                   chosen);
  ops_.matmul(compute, chosen, std::ssize(rows), weights_.output(), out, Output::kOverwrite);
  return out;
}

const float* Transformer::sliced_logits(Stream& compute, const ForwardStep& step,
                                        std::int64_t first, std::int64_t count) {
  expects(count <= limits_.logit_rows, "the rows fit the logits' memory");
  std::vector<int> masters;
  for (std::int64_t row = 0; row < count; ++row) {
    masters.push_back(step.decode.front().rows[first + row].master);
  }
  float* out = logits_.as<float>().data();
  const std::int64_t row0 = step.chunk_rows() + first;
  sliced_->logits(compute, step.group, normed_.as<float>().data() + row0 * config_.hidden, count,
                  masters, weights_.output(), out);
  return out;
}

}  // namespace longspan
