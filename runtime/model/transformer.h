// The forward pass of a model over this rank's rows of one step.
//
// Every instance holds all weights; what is split over instances is the rows. Projections, norms
// and the MLP are local to a row, unless decode rows are sliced (SlicedProducts); attention reaches
// other instances, through a PrefillAttention for rows of a prefill chunk and a DecodeAttention for
// decode rows. The ranks of one instance compute the same rows, each with its part of the weights
// and its own heads (PartProducts); the residual stream has the same bits on all of them.
//
// What is local to a row runs over a block of rows at a time (blockwise feed-forward,
// arXiv 2305.19370), so the widest activations are as large as a block and not as a chunk:
//
//   each block: norm, QKV, RoPE | attention of all rows | each block: projection, norm, MLP
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "attention/approximation.h"
#include "attention/decode_strategies.h"
#include "attention/key_chooser.h"
#include "attention/prefill_strategies.h"
#include "attention/row_balancer.h"
#include "comm/device.h"
#include "comm/group.h"
#include "runtime/memory/kv_store.h"
#include "runtime/model/model_config.h"
#include "runtime/model/ops.h"
#include "runtime/model/part_products.h"
#include "runtime/model/rope.h"
#include "runtime/model/sliced_products.h"
#include "runtime/model/weights.h"

namespace longspan {

/// The page column where a decode row's own key and value go.
struct DecodeTarget {
  std::int64_t row;  // of the decode rows held here
  OwnPages pages;    // this rank's of the sequence
  std::int64_t column;
};

/// A chunk of one prompt, and which rows of the step are this rank's of it.
struct StepChunk {
  Group group;                      // that computes it, this rank among them
  std::vector<SplitChunk> by_mask;  // it under each distinct mask
  Strategy strategy = Strategy::kRing;
  std::int64_t row0 = 0;

  /// The chunk, if only its rows matter: those no mask changes.
  const SplitChunk& chunk() const { return by_mask.front(); }
  std::int64_t rows() const { return chunk().own().rows; }
};

/// One step on this rank: rows of the chunks first, one chunk after the other, then the decode rows
/// it holds: those it masters, or all where rows are mirrored.
struct ForwardStep {
  Group group;                          // one rank of each instance: those with the same part
  std::vector<TokenId> tokens;          // one per row
  std::vector<std::int64_t> positions;  // one per row
  std::vector<StepChunk> chunks;        // those this rank has a part in
  DecodeStrategy decode_strategy = DecodeStrategy::kShipped;
  std::vector<DecodeBatch> decode;    // the decode rows under each distinct mask
  std::vector<DecodeTarget> targets;  // one per decode row mastered here
  /// Rows of one sequence, and its whole length, which may choose how they are turned.
  struct Span {
    std::int64_t row0;
    std::int64_t rows;
    std::int64_t length;
  };
  std::vector<Span> spans;  // all rows, if the length matters

  std::int64_t rows() const { return std::ssize(tokens); }
  std::int64_t chunk_rows() const {
    return chunks.empty() ? 0 : chunks.back().row0 + chunks.back().rows();
  }
  std::int64_t decode_rows() const { return rows() - chunk_rows(); }
  /// Whether each rank of the group uses its share of the weights for the decode rows.
  bool is_sliced() const {
    return decode_strategy == DecodeStrategy::kSliced && group.size() > 1 && decode_rows() > 0;
  }
};

/// Rows of a step that go through norms and products together.
struct RowBlock {
  std::int64_t first = 0;
  std::int64_t count = 0;
  bool is_sliced = false;  // with each rank's share of the weights

  std::int64_t end() const { return first + count; }
};

/// Hears that a layer (0, 1, ...) is done.
using LayerDone = std::function<void(int layer)>;

class Transformer {
 public:
  /// The most any step on this rank may ask for; memory is allocated for it once.
  struct Limits {
    std::int64_t rows = 0;  // of one step
    int chunks = 1;         // of one step
    /// Rows that go through norms and products together, one at least. Weights are read once per
    /// block: a thousand rows make some 500 FLOP of each byte, far more than a CPU needs to be
    /// busy, and take 218 MB of activations with the shape of Llama-3-8B.
    std::int64_t ffn_block_rows = 1024;
    PrefillLimits prefill;
    StrategySet strategies{PlannedStrategy{}};
    Approximation attention;  // of every request
    DecodeStrategySet decode_strategies{DecodeStrategy::kShipped};
    int decode_rows = 0;           // of one step, over all masters
    std::int64_t logit_rows = 64;  // that are projected to the vocabulary at once
  };

  /// `config`, `weights` and `kernels` are those of this rank's part; `instance`: the ranks that
  /// hold the model together. Borrows the rest of what it is given.
  Transformer(Device& device, const ModelConfig& config, const ModelWeights& weights, ModelOps& ops,
              AttentionKernels& kernels, const KvStore& kv, Group instance, const Limits& limits);

  /// Bytes the constructor allocates.
  static std::size_t memory_bytes(const ModelConfig& config, const Limits& limits);

  /// Enqueues the pass. Afterwards the residual stream of each row is ready for logits().
  /// `step` must live until `compute` is past the call. `layer_done`, if any, is called by the
  /// stream after each layer.
  void forward(Stream& compute, const ForwardStep& step, const LayerDone& layer_done);

  /// Enqueues the products of a layer, of as many rows as whole chunks have and of one, so that a
  /// device has found its kernels for them. What they say is forgotten. Before the first step; no
  /// other rank takes part.
  void warm_up(Stream& compute);

  const Limits& limits() const { return limits_; }
  /// Where the keys that count for a prompt of `tokens` are named while a pass runs; of attention
  /// that needs it.
  KeyChoice key_choice(std::int64_t tokens) const { return chooser_->choice(tokens); }
  /// Partial results of attention that were not numbers, so far: see AttentionKernels.
  std::int64_t bad_lse_total() const;

  /// Enqueues the logits of `rows` of the step, limits.logit_rows of them at most, and returns
  /// where they will be on the first rank of the instance: (rows, vocabulary). All ranks of the
  /// instance call it alike. The next call reuses the memory.
  const float* logits(Stream& compute, std::span<const std::int64_t> rows);
  /// The same for `count` decode rows of a sliced step from the `first` on: every rank of the group
  /// takes part, and has the logits of the rows it masters afterwards.
  const float* sliced_logits(Stream& compute, const ForwardStep& step, std::int64_t first,
                             std::int64_t count);

 private:
  void pass(Stream& compute, const ForwardStep& step, const LayerDone& layer_done);
  bool is_one(const ForwardStep& step, const LayerDone& layer_done) const;
  void project(Stream& compute, const ForwardStep& step, int index, const RowBlock& block,
               std::vector<KvTarget> targets);
  void attention(Stream& compute, const ForwardStep& step, int layer);
  KvView own_stream(const StepChunk& rows, int layer);
  KvView waiting_kv(const StepChunk& rows);
  void prefill(Stream& compute, const StepChunk& rows, const SplitChunk& chunk,
               const KvPages& pages);
  void attention_output(Stream& compute, const ForwardStep& step, const LayerWeights& layer,
                        const RowBlock& block);
  void mlp(Stream& compute, const ForwardStep& step, const LayerWeights& layer,
           const RowBlock& block);
  void feed_forward(Stream& compute, const LayerWeights& layer, const float* x, std::int64_t rows,
                    float* out, Output output);
  void rope_angles(Stream& compute, const ForwardStep& step);
  /// Of rows from `row` on, as the rule of a layer turns them.
  const float* angles(int layer, std::int64_t row);
  float* branch(Stream& compute, const NormWeight& post_norm, const RowBlock& block);
  void join(Stream& compute, const NormWeight& post_norm, const RowBlock& block);
  std::vector<KvTarget> targets(const ForwardStep& step, int layer);
  void round_full_tails(Stream& compute, const ForwardStep& step, int layer);
  float* hidden(std::int64_t row) { return hidden_.as<float>().data() + row * config_.hidden; }

  const ModelConfig& config_;
  const ModelWeights& weights_;
  ModelOps& ops_;
  AttentionKernels& kernels_;
  const KvStore& kv_;
  Limits limits_;

  Buffer angles_;   // (ropes, rows, head_dim)
  Buffer hidden_;   // (rows, hidden): the residual stream
  Buffer normed_;   // (block, hidden)
  Buffer qkv_;      // (block, q + 2 kv)
  Buffer q_;        // (rows, q)
  Buffer mixed_;    // (rows, q): attention's output, and its running state
  Buffer softmax_;  // (2, rows, query_heads): the running state's m and l
  Buffer gate_up_;  // (block, 2 ffn)
  Buffer active_;   // (block, ffn)
  Buffer branch_;   // (block, hidden): what is normed before it is added; may be nothing
  Buffer waiting_;  // (rows, 2, kv_heads, head_dim): of chunks that take turns; may be nothing
  Buffer chosen_;   // (logit_rows, hidden): what is projected to the vocabulary
  Buffer logits_;   // (logit_rows, vocabulary); nothing where logits are sent away

  PartProducts parts_;
  std::unique_ptr<KeyChooser> chooser_;  // if attention needs one
  std::optional<RowBalancer> balancer_;  // if rows are dealt anew
  PrefillStrategies prefill_;
  DecodeStrategies decode_;
  std::optional<SlicedProducts> sliced_;  // if decode rows may be
};

}  // namespace longspan
