// The products whose results lie in parts on the ranks of an instance (model_part.h).
//
//   attention output, down    every rank has a partial sum of every output   | exchange: sum
//   logits                    every rank has its tokens' logits of each row  | to the first rank
//
// All ranks of an instance compute the same rows, and the sums leave the same bits of the residual
// on all of them: float32, added up in rank order. A few values go to everybody, who adds them all
// up; with many each rank adds up one piece and passes it on, in two exchanges of less:
//
//   few     own sums --> all                                                       | add
//   many    piece k of the own sums --> rank k    | add piece    own piece --> all |
//
// Both give the same bits. As with sliced decode nothing could run meanwhile, so exchanges run on
// the compute stream. A rank that is alone in its instance sends nothing.
#pragma once

#include <cstdint>
#include <functional>

#include "attention/scratch.h"
#include "attention/strategy_traffic.h"
#include "comm/device.h"
#include "comm/group.h"
#include "runtime/model/model_config.h"
#include "runtime/model/ops.h"

namespace longspan {

/// The most any step may ask for.
struct PartLimits {
  std::int64_t rows = 0;        // of one step
  std::int64_t logit_rows = 0;  // that are projected to the vocabulary at once
};

class PartProducts {
 public:
  /// Up to so many values, of which latency is dearer than bytes (derived: 64 KiB take a link of
  /// 10 GB/s 7 us, no more than the second exchange would).
  static constexpr std::int64_t kFewValues = 16 * 1024;

  /// `config`: of this rank's part. `instance`: the ranks that hold the model together, in order of
  /// their parts. Borrows the rest.
  PartProducts(Device& device, const ModelConfig& config, ModelOps& ops, Group instance,
               const PartLimits& limits);
  static std::size_t memory_bytes(const ModelConfig& config, const PartLimits& limits);

  /// Enqueues out += the sum over all ranks of x w^T: x (rows, w's inputs), out (rows, hidden),
  /// which every rank holds alike, before and after.
  void add_product(Stream& compute, const float* x, std::int64_t rows, const PackedMatrix& w,
                   float* out);
  /// The same with this rank's summand (rows, hidden) from a call, which enqueues on `compute` that
  /// it is written, or added, to the memory it is given.
  void add(Stream& compute, std::int64_t rows, float* out,
           const std::function<void(float* to, Output output)>& own_summand);
  /// Enqueues the logits of x (rows, hidden). `out` (rows, vocabulary) is written on the first rank
  /// of the instance; elsewhere it is not touched and may be null.
  void logits(Stream& compute, const float* x, std::int64_t rows, const PackedMatrix& w,
              float* out);

  /// What a rank sends for `rows` rows: in a layer, and for their logits.
  static Sent layer_sent(const ModelConfig& config, std::int64_t rows);
  static Sent logits_sent(const ModelConfig& config, std::int64_t rows);

 private:
  struct Piece {
    std::int64_t first;
    std::int64_t count;
  };

  static Piece piece(std::int64_t values, int part, int parts);
  void add_few(Stream& compute, const float* own, std::int64_t values, Scratch& scratch,
               float* out);
  void add_many(Stream& compute, const float* own, std::int64_t values, Scratch& scratch,
                float* out);

  Device& device_;
  const ModelConfig& config_;
  ModelOps& ops_;
  Group instance_;
  Buffer scratch_;
};

}  // namespace longspan
