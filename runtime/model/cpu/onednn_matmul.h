// Matrix products by oneDNN, versions 2.6 and 3: the only file that knows its API.
//
// A weight matrix is packed once, in the layout that oneDNN prefers at many rows; that layout is
// kept for every number of rows.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/model/ops.h"

namespace longspan {

/// "oneDNN 2.6.3".
std::string onednn_version();

std::unique_ptr<MatrixLayout> new_onednn_layout(int outputs, int inputs);
/// In blocks of 16 inputs by 64 outputs, as oneDNN prefers it with AVX-512: so that tests meet
/// blocks on every machine. Elsewhere it multiplies by them slowly.
std::unique_ptr<MatrixLayout> new_blocked_onednn_layout(int outputs, int inputs);

class OnednnMatmul {
 public:
  OnednnMatmul();
  ~OnednnMatmul();

  /// out = x w^T, or out += x w^T, on the calling thread and its OpenMP team. `w` is in a layout of
  /// new_onednn_layout(). May be called by several threads at once.
  void multiply(const float* x, std::int64_t rows, const PackedMatrix& w, float* out,
                Output output);
  /// The same with a slice of w: x (rows, w.inputs.count), out (rows, w.outputs.count). Without
  /// outputs it does nothing.
  void multiply(const float* x, std::int64_t rows, const MatrixSlice& w, float* out, Output output);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace longspan
