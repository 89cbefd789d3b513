// Matrix products by oneDNN, versions 2.6 and 3.
//
// A weight matrix is packed once, in the layout that oneDNN prefers at many rows; that layout is
// kept for every number of rows. In bfloat16 x is rounded as well, and sums are float32; where
// oneDNN has no kernels for that, products of a few rows are ours (pair_panels.h), and for many
// rows the weights are widened, some panels at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/model/ops.h"

namespace longspan {

/// "oneDNN 2.6.3".
std::string onednn_version();

/// Whether it has kernels of its own for bfloat16 here: with AMX or AVX512-BF16.
bool onednn_has_bfloat16();

std::unique_ptr<MatrixLayout> new_onednn_layout(int outputs, int inputs,
                                                Precision precision = Precision::kFloat32);
/// In blocks of 16 inputs by 64 outputs, as oneDNN prefers it with AVX-512: so that tests meet
/// blocks on every machine. Elsewhere it multiplies by them slowly.
std::unique_ptr<MatrixLayout> new_blocked_onednn_layout(int outputs, int inputs);

class OnednnMatmul {
 public:
  /// For tests, `own_bfloat16` never leaves bfloat16 to oneDNN.
  explicit OnednnMatmul(bool own_bfloat16 = false);
  ~OnednnMatmul();

  /// out = x w^T, or out += x w^T, on the calling thread and its OpenMP team: x (rows,
  /// w.inputs.count), out (rows, w.outputs.count). `w` is in a layout of new_onednn_layout();
  /// without outputs nothing is done. May be called by several threads at once.
  void multiply(const float* x, std::int64_t rows, const MatrixSlice& w, float* out, Output output);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace longspan
