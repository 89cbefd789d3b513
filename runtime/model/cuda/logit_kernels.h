// Kernels that summarise rows of logits (logit_summary.h): pieces of a row by themselves, then each
// row's pieces together.
//
//   row     | piece 4096 | piece | piece | ...       a block each: best, sums, its 256 best in
//   order
//              `-------------`------ finish           a block for the row
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "runtime/model/logit_summary.h"

namespace longspan {

inline constexpr int kPieceLogits = 4096;
inline constexpr int kMostPieces = 1024;

constexpr std::int64_t logit_pieces(std::int64_t vocabulary) {
  return (vocabulary + kPieceLogits - 1) / kPieceLogits;
}

/// A logit and its id as one number, which orders logits as the host does: the higher the better.
using RankedLogit = unsigned long long;

struct LogitPiece {
  double exp_sum, weight_sum;  // relative to the piece's best
  RankedLogit best;
  std::int32_t is_unusable;  // NaN or +inf
};

/// Everything lies on the GPU.
struct LogitWork {
  const float* logits;  // (rows, vocabulary)
  std::int64_t vocabulary;
  const LogitWish* wishes;
  std::int64_t count;        // of wishes
  LogitPiece* pieces;        // (wishes, pieces)
  RankedLogit* piece_lists;  // (wishes, pieces, kListedLogits)
  LogitSummary* summaries;   // (wishes)
  ListedLogit* lists;        // (wishes, kListedLogits)
};

void launch_summarise_logits(const LogitWork& work, cudaStream_t stream);

}  // namespace longspan
