#include "runtime/model/transformer.h"

#include <algorithm>
#include <utility>

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

/// Beyond, going through a step takes the host longer than its kernels' starts take the GPU.
constexpr std::ptrdiff_t kMostRowsAsOne = 16;

/// Tokens of a row whose logits come together on this rank.
int gathered_logits(const ModelConfig& config) {
  return config.part.index == 0 ? config.vocabulary : 0;
}

std::int64_t ropes(const ModelConfig& config) { return std::ssize(config.ropes.distinct()); }

int branch_width(const ModelConfig& config) { return config.post_norms ? config.hidden : 0; }

bool may_slice(const Transformer::Limits& limits) {
  return limits.decode_strategies.contains(DecodeStrategy::kSliced) && limits.prefill.ranks > 1;
}

bool may_balance(const Transformer::Limits& limits) {
  const Approximation& attention = limits.attention;
  return attention.kind == AttentionKind::kBlockSparse && attention.balances_rows &&
         limits.prefill.ranks > 1;
}

/// The most rows of any block: sliced rows are one, so that they take one exchange.
std::int64_t block_rows(const Transformer::Limits& limits) {
  const std::int64_t sliced = may_slice(limits) ? limits.decode_rows : 0;
  return std::min(limits.rows, std::max(limits.ffn_block_rows, sliced));
}

/// Rows of chunks that take turns.
std::int64_t waiting_rows(const Transformer::Limits& limits) {
  return limits.chunks > 1 ? limits.rows : 0;
}

PartLimits part_limits(const Transformer::Limits& limits) {
  return {.rows = block_rows(limits), .logit_rows = limits.logit_rows};
}

/// Even ones, so that a few rows left over do not read all weights once more.
std::vector<RowBlock> blocks_of(const ForwardStep& step, std::int64_t most) {
  const std::int64_t whole = step.is_sliced() ? step.chunk_rows() : step.rows();
  const std::int64_t count = (whole + most - 1) / most;
  std::vector<RowBlock> blocks;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t first = whole * i / count;
    blocks.push_back({first, whole * (i + 1) / count - first});
  }
  if (step.is_sliced()) blocks.push_back({whole, step.decode_rows(), true});
  return blocks;
}

/// What of the step's targets lies in the block, whose own rows count from 0.
std::vector<KvTarget> targets_in(const RowBlock& block, const std::vector<KvTarget>& targets) {
  std::vector<KvTarget> out;
  for (const KvTarget& whole : targets) {
    const std::int64_t first = std::max(whole.row0, block.first);
    const std::int64_t end = std::min(whole.row0 + whole.rows, block.end());
    if (first >= end) continue;
    const std::int64_t column0 = whole.column0 + first - whole.row0;
    out.push_back({first - block.first, end - first, whole.to, column0});
  }
  return out;
}

}  // namespace

Transformer::Transformer(Device& device, const ModelConfig& config, const ModelWeights& weights,
                         ModelOps& ops, AttentionKernels& kernels, const KvStore& kv,
                         Group instance, const Limits& limits)
    : config_(config),
      weights_(weights),
      ops_(ops),
      kernels_(kernels),
      kv_(kv),
      limits_(limits),
      angles_(device.allocate(floats(limits.rows * ropes(config), config.heads.head_dim))),
      hidden_(device.allocate(floats(limits.rows, config.hidden))),
      normed_(device.allocate(floats(block_rows(limits), config.hidden))),
      qkv_(device.allocate(floats(block_rows(limits), config.q_width() + 2 * config.kv_width()))),
      q_(device.allocate(floats(limits.rows, config.q_width()))),
      mixed_(device.allocate(floats(limits.rows, config.q_width()))),
      softmax_(device.allocate(floats(2 * limits.rows, config.heads.query_heads))),
      gate_up_(device.allocate(floats(block_rows(limits), 2 * config.ffn))),
      active_(device.allocate(floats(block_rows(limits), config.ffn))),
      branch_(device.allocate(floats(block_rows(limits), branch_width(config)))),
      waiting_(device.allocate(floats(waiting_rows(limits), config.heads.kv_values()))),
      chosen_(device.allocate(floats(limits.logit_rows, config.hidden))),
      logits_(device.allocate(floats(limits.logit_rows, gathered_logits(config)))),
      parts_(device, config, ops, std::move(instance), part_limits(limits)),
      chooser_(new_key_chooser(device, kernels, limits.attention, limits.prefill)),
      prefill_(device, kernels, limits.prefill, limits.strategies),
      decode_(device, kernels, decode_limits(limits), limits.decode_strategies) {
  expects(limits.ffn_block_rows > 0, "a block has rows");
  expects(!may_slice(limits) || config.part.ranks == 1, "sliced decode needs all weights");
  if (may_balance(limits)) {
    balancer_.emplace(device, config.heads, limits.prefill, limits.attention.block_tokens);
  }
  if (may_slice(limits)) sliced_.emplace(device, config, ops, sliced_limits(limits));
}

std::size_t Transformer::memory_bytes(const ModelConfig& config, const Limits& limits) {
  const std::int64_t row = ropes(config) * config.heads.head_dim + config.hidden +
                           2 * config.q_width() + 2 * config.heads.query_heads;
  const std::int64_t row_of_block = config.hidden + branch_width(config) + config.q_width() +
                                    2 * config.kv_width() + 3 * config.ffn;
  return floats(limits.rows, row) + floats(block_rows(limits), row_of_block) +
         floats(waiting_rows(limits), config.heads.kv_values()) +
         floats(limits.logit_rows, config.hidden + gathered_logits(config)) +
         PartProducts::memory_bytes(config, part_limits(limits)) +
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
  expects(step.rows() <= limits_.rows && std::ssize(step.chunks) <= limits_.chunks,
          "the step fits the memory planned for it");
  if (!is_one(step, layer_done)) return pass(compute, step, layer_done);
  compute.as_one([&] { pass(compute, step, layer_done); });
}

/// Whether steps like it come again and again. What else the device asks of one, it sees.
bool Transformer::is_one(const ForwardStep& step, const LayerDone& layer_done) const {
  const auto rows = std::max(step.rows(), std::ssize(step.decode.front().rows));
  return step.chunks.empty() && rows > 0 && rows <= kMostRowsAsOne && config_.part.ranks == 1 &&
         !layer_done;
}

void Transformer::pass(Stream& compute, const ForwardStep& step, const LayerDone& layer_done) {
  const std::vector<RowBlock> blocks = blocks_of(step, block_rows(limits_));
  ops_.embed(compute, weights_.embedding(), step.tokens, hidden(0));
  rope_angles(compute, step);
  for (int l = 0; l < config_.layers; ++l) {
    const StreamSpan span(compute, {"layer", TraceCategory::kStep, {{"layer", l}}});
    const LayerWeights& layer = weights_.layer(l);
    const std::vector<KvTarget> kv = targets(step, l);
    for (const RowBlock& block : blocks) project(compute, step, l, block, targets_in(block, kv));
    round_full_tails(compute, step, l);
    attention(compute, step, l);
    for (const RowBlock& block : blocks) {
      attention_output(compute, step, layer, block);
      mlp(compute, step, layer, block);
    }
    if (layer_done) compute.call([layer_done, l] { layer_done(l); });
  }
}

void Transformer::warm_up(Stream& compute) {
  if (!ops_.finds_kernels() || limits_.rows == 0) return;
  const LayerWeights& layer = weights_.layer(0);
  float* x = hidden(0);
  for (const std::int64_t rows : {block_rows(limits_), std::int64_t{1}}) {
    ops_.clear(compute, x, rows * config_.hidden);
    ops_.clear(compute, mixed_.as<float>().data(), rows * config_.q_width());
    ops_.normed_matmul(compute, x, rows, layer.attention_norm, whole(layer.qkv),
                       normed_.as<float>().data(), qkv_.as<float>().data());
    ops_.matmul(compute, mixed_.as<float>().data(), rows, layer.attention_output, x,
                Output::kAccumulate);
    feed_forward(compute, layer, x, rows, x, Output::kAccumulate);
  }
}

/// Each rule's for all rows of the step.
void Transformer::rope_angles(Stream& compute, const ForwardStep& step) {
  const int dim = config_.heads.head_dim;
  float* out = angles_.as<float>().data();
  for (const RopeSpec& spec : config_.ropes.distinct()) {
    if (!spec.depends_on_length()) {
      ops_.rope_angles(compute, RopeTable(spec, dim), step.positions, out);
    } else {
      for (const ForwardStep::Span& span : step.spans) {
        const auto first = step.positions.begin() + span.row0;
        ops_.rope_angles(compute, RopeTable(spec, dim, span.length), {first, first + span.rows},
                         out + span.row0 * dim);
      }
    }
    out += limits_.rows * dim;
  }
}

const float* Transformer::angles(int layer, std::int64_t row) {
  return angles_.as<float>().data() +
         (config_.ropes.index(layer) * limits_.rows + row) * config_.heads.head_dim;
}

/// Where to add the sums of a branch of the block: to the residual stream, or to zeros if they are
/// normed before join() adds them.
float* Transformer::branch(Stream& compute, const NormWeight& post_norm, const RowBlock& block) {
  if (post_norm.weight == nullptr) return hidden(block.first);
  float* sums = branch_.as<float>().data();
  ops_.clear(compute, sums, block.count * config_.hidden);
  return sums;
}

void Transformer::join(Stream& compute, const NormWeight& post_norm, const RowBlock& block) {
  if (post_norm.weight == nullptr) return;
  float* sums = branch_.as<float>().data();
  ops_.rms_norm(compute, sums, block.count, post_norm, sums);
  ops_.add_sum(compute, {sums}, block.count * config_.hidden, hidden(block.first));
}

void Transformer::project(Stream& compute, const ForwardStep& step, int index,
                          const RowBlock& block, std::vector<KvTarget> targets) {
  const LayerWeights& layer = weights_.layer(index);
  float* normed = normed_.as<float>().data();
  float* qkv = qkv_.as<float>().data();
  if (block.is_sliced) {
    sliced_->qkv(compute, step.group, hidden(block.first), block.count, layer, normed, qkv);
  } else {
    ops_.normed_matmul(compute, hidden(block.first), block.count, layer.attention_norm,
                       whole(layer.qkv), normed, qkv);
  }
  float* q = q_.as<float>().data() + block.first * config_.q_width();
  ops_.rope_and_store(compute,
                      {.qkv = qkv,
                       .angles = angles(index, block.first),
                       .rows = block.count,
                       .heads = config_.heads,
                       .bias = layer.qkv_bias,
                       .query_norm = layer.query_norm,
                       .key_norm = layer.key_norm},
                      q, std::move(targets));
}

/// Rows of a chunk store into the rank's own stream, which retention then copies to pages, or wait
/// in store for their chunk's turn where chunks take turns; a decode row stores into its page.
std::vector<KvTarget> Transformer::targets(const ForwardStep& step, int layer) {
  std::vector<KvTarget> out;
  const std::int64_t chunk_rows = step.chunk_rows();
  for (const StepChunk& rows : step.chunks) {
    if (rows.rows() == 0) continue;
    const KvView to = step.chunks.size() > 1 ? waiting_kv(rows) : own_stream(rows, layer);
    out.push_back({rows.row0, rows.rows(), to, 0});
  }
  const KvPages pages = kv_.layer(layer);
  for (const DecodeTarget& target : step.targets) {
    const KvColumn open = pages.open_column(target.pages, target.column);
    out.push_back({chunk_rows + target.row, 1, open.view, open.column});
  }
  return out;
}

/// Pages that a decode row filled, where pages fill elsewhere: from now on they are read rounded.
void Transformer::round_full_tails(Stream& compute, const ForwardStep& step, int layer) {
  const KvPages pages = kv_.layer(layer);
  if (!pages.fill_apart()) return;
  std::vector<KvCopy> copies;
  for (const DecodeTarget& target : step.targets) {
    if ((target.column + 1) % pages.rest.page_tokens != 0) continue;
    copies.push_back(full_tail(pages, target.pages, target.column + 1));
  }
  if (!copies.empty()) kernels_.copy_kv(compute, std::move(copies));
}

KvView Transformer::own_stream(const StepChunk& rows, int layer) {
  return prefill_.use(rows.strategy).own_stream(rows.by_mask[config_.masks.index(layer)]);
}

/// New keys and values of a chunk's rows, while the own stream is another's.
KvView Transformer::waiting_kv(const StepChunk& rows) {
  float* memory = waiting_.as<float>().data() + rows.row0 * config_.heads.kv_values();
  return pages_at(memory, KvType::kFloat32, config_.heads, rows.rows());
}

void Transformer::attention(Stream& compute, const ForwardStep& step, int layer) {
  const std::int64_t rows = step.chunk_rows();
  const float* q = q_.as<float>().data();
  float* mixed = mixed_.as<float>().data();
  const KvPages pages = kv_.layer(layer);
  const int mask = config_.masks.index(layer);
  for (const StepChunk& chunk : step.chunks) {
    if (step.chunks.size() > 1 && chunk.rows() > 0) {
      const KvPart from{waiting_kv(chunk), chunk.rows()};
      const KvPart to{own_stream(chunk, layer), chunk.rows()};
      kernels_.copy_kv(compute, copies_between({from}, {to}));
    }
    prefill(compute, chunk, chunk.by_mask[mask], pages);
  }
  const DecodeBatch& decode = step.decode[mask];
  if (!decode.rows.empty()) {
    const std::int64_t done = rows * config_.q_width();
    decode_.use(step.decode_strategy)
        .run(compute, step.group, decode, pages, q + done, mixed + done);
  }
}

void Transformer::prefill(Stream& compute, const StepChunk& rows, const SplitChunk& chunk,
                          const KvPages& pages) {
  const std::int64_t query_heads = config_.heads.query_heads;
  const float* q = q_.as<float>().data() + rows.row0 * config_.q_width();
  float* m = softmax_.as<float>().data() + rows.row0 * query_heads;
  const RunningState state{mixed_.as<float>().data() + rows.row0 * config_.q_width(), m,
                           m + limits_.rows * query_heads};
  PrefillAttention& strategy = prefill_.use(rows.strategy);
  const bool chosen = chunk.mask.needs_choice();
  if (chosen) {
    chooser_->choose(compute, rows.group, chunk, {q, strategy.own_stream(chunk)});
  }
  begin_keeping(compute, kernels_, pages, chunk);
  if (chosen && balancer_ && passes_keys(rows.strategy)) {
    balancer_->run(strategy, compute, rows.group, chunk, pages, q, state);
  } else {
    strategy.run(compute, rows.group, chunk, pages, q, state);
  }
  settle(compute, kernels_, pages, chunk);
}

void Transformer::attention_output(Stream& compute, const ForwardStep& step,
                                   const LayerWeights& layer, const RowBlock& block) {
  const float* mixed = mixed_.as<float>().data() + block.first * config_.q_width();
  float* sums = branch(compute, layer.attention_post_norm, block);
  if (block.is_sliced) {
    sliced_->attention_output(compute, step.group, mixed,
                              decode_.use(step.decode_strategy).heads(step.decode.front()),
                              block.count, layer.attention_output, sums);
  } else {
    parts_.add_product(compute, mixed, block.count, layer.attention_output, sums);
  }
  join(compute, layer.attention_post_norm, block);
}

void Transformer::mlp(Stream& compute, const ForwardStep& step, const LayerWeights& layer,
                      const RowBlock& block) {
  const float* x = hidden(block.first);
  float* sums = branch(compute, layer.ffn_post_norm, block);
  if (block.is_sliced) {
    sliced_->mlp(compute, step.group, x, block.count, layer, normed_.as<float>().data(), sums);
  } else {
    parts_.add(compute, block.count, sums, [&](float* out, Output output) {
      feed_forward(compute, layer, x, block.count, out, output);
    });
  }
  join(compute, layer.ffn_post_norm, block);
}

/// With this rank's part of the weights.
void Transformer::feed_forward(Stream& compute, const LayerWeights& layer, const float* x,
                               std::int64_t rows, float* out, Output output) {
  ops_.feed_forward(
      compute, x, rows,
      {layer.ffn_norm,
       layer.gate_up,
       config_.activation,
       layer.down,
       {0, layer.down.layout->inputs()}},
      {normed_.as<float>().data(), gate_up_.as<float>().data(), active_.as<float>().data()}, out,
      output);
}

std::int64_t Transformer::bad_lse_total() const {
  return kernels_.bad_lse_total() + decode_.bad_lse_total();
}

const float* Transformer::logits(Stream& compute, std::span<const std::int64_t> rows) {
  expects(std::ssize(rows) <= limits_.logit_rows, "the rows fit the logits' memory");
  float* chosen = chosen_.as<float>().data();
  float* out = logits_.as<float>().data();
  ops_.gather_rows(compute, hidden(0), config_.hidden, {rows.begin(), rows.end()}, chosen);
  ops_.rms_norm(compute, chosen, std::ssize(rows), weights_.output_norm(), chosen);
  parts_.logits(compute, chosen, std::ssize(rows), weights_.output(), out);
  return out;
}

const float* Transformer::sliced_logits(Stream& compute, const ForwardStep& step,
                                        std::int64_t first, std::int64_t count) {
  expects(count <= limits_.logit_rows, "the rows fit the logits' memory");
  std::vector<int> masters;
  for (std::int64_t row = 0; row < count; ++row) {
    masters.push_back(step.decode.front().rows[first + row].master);
  }
  float* chosen = chosen_.as<float>().data();
  float* out = logits_.as<float>().data();
  ops_.rms_norm(compute, hidden(step.chunk_rows() + first), count, weights_.output_norm(), chosen);
  sliced_->logits(compute, step.group, chosen, count, masters, weights_.output(), out);
  return out;
}

}  // namespace longspan
