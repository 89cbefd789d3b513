// The products of mirrored decode rows with weights dealt to the ranks.
//
// Every rank holds all weights and all rows, but uses a share of each matrix. Decode reads weights
// once per step and does little else, so N ranks that read a share each take 1/N of the time; what
// it costs is an exchange of a few kilobytes wherever a rank needs what the others computed:
//
//   x --> qkv, own outputs     | exchange: all gather the outputs    |--> attention
//   own heads --> projection's rows of those inputs  | exchange: sum |--> residual
//   x --> gate, up: own outputs --> down: own inputs | exchange: sum |--> residual
//   x --> logits of the own part of the vocabulary   | exchange: to the row's master
//
// The shares are cut at multiples of kCut (heads: of a head), the same on every rank, so the number
// of ranks may change from step to step and no weight moves. A rank whose share is empty computes
// and sends nothing there; both sides know. Sums are added up in rank order on every rank: all hold
// the same bits of the residual.
//
// Nothing could run while such an exchange is under way, so it runs on the compute stream: no
// hand-over between streams, and no wait to forget.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "attention/even_slice.h"
#include "attention/scratch.h"
#include "attention/strategy_traffic.h"
#include "comm/device.h"
#include "comm/group.h"
#include "runtime/model/model_config.h"
#include "runtime/model/ops.h"
#include "runtime/model/weights.h"

namespace longspan {

/// The most any step may ask for.
struct SlicedLimits {
  std::int64_t rows = 0;        // decode rows
  std::int64_t logit_rows = 0;  // that are projected to the vocabulary at once
  int ranks = 1;
};

class SlicedProducts {
 public:
  /// Columns: cut at multiples of it, a matrix is cut between the blocks of its layout.
  static constexpr int kCut = 64;

  /// Borrows everything.
  SlicedProducts(Device& device, const ModelConfig& config, ModelOps& ops,
                 const SlicedLimits& limits);
  static std::size_t memory_bytes(const ModelConfig& config, const SlicedLimits& limits);

  /// Enqueues, for `rows` rows that every rank of `group` has alike; x and out are (rows, ...).
  /// The group has two ranks at least. `normed`: memory for rows as wide as x.

  /// out = the normed rows' queries, keys and values, whole, on every rank.
  void qkv(Stream& compute, const Group& group, const float* x, std::int64_t rows,
           const LayerWeights& layer, float* normed, float* out);
  /// hidden += the attention output of all heads, of which this rank has `heads`:
  /// mixed (rows, heads.count, head_dim).
  void attention_output(Stream& compute, const Group& group, const float* mixed, const Slice& heads,
                        std::int64_t rows, const PackedMatrix& w, float* hidden);
  /// hidden += down(activation(gate n) * up n), n being x normed.
  void mlp(Stream& compute, const Group& group, const float* x, std::int64_t rows,
           const LayerWeights& layer, float* normed, float* hidden);
  /// out = x w^T, (rows, vocabulary), of the rows whose master (index of the group) is this rank;
  /// `out` keeps what it had where the other rows would be.
  void logits(Stream& compute, const Group& group, const float* x, std::int64_t rows,
              const std::vector<int>& masters, const PackedMatrix& w, float* out);

  /// What `rank` of `ranks` sends for `rows` rows: in a layer (attention's partials apart), and for
  /// the logits of rows with these masters.
  static Sent layer_sent(const ModelConfig& config, int rank, int ranks, std::int64_t rows);
  static Sent logits_sent(const ModelConfig& config, int rank, int ranks,
                          const std::vector<int>& masters);

 private:
  /// What rank j uses of something.
  using Share = std::function<Slice(int j)>;

  /// out += every rank's sum, this rank's in `own`; ranks without a share of the inputs have none.
  void add_sums(Stream& compute, const Group& group, const Share& inputs, const float* own,
                std::int64_t values, Scratch& scratch, float* out);

  Device& device_;
  const ModelConfig& config_;
  ModelOps& ops_;
  Buffer scratch_;
};

}  // namespace longspan
