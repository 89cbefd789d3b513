// What a transformer does apart from attention: embed, normalise, multiply, rotate, activate.
//
// Every call enqueues on `stream` and copies the descriptions and lists it is given; the memory
// they point to must live until the stream is past it. Everything but weights is float32, and
// row-major. Zero rows are allowed everywhere and do nothing. A row's result does not depend on the
// rows beside it by more than rounding.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attention/even_slice.h"
#include "attention/precision.h"
#include "attention/segment.h"
#include "comm/device.h"
#include "runtime/model/gguf.h"
#include "runtime/model/logit_summary.h"
#include "runtime/model/model_config.h"
#include "runtime/model/rope.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

/// How a device wants a weight matrix laid out in memory. Opaque: only the ModelOps that made it
/// can multiply by what it packed.
class MatrixLayout {
 public:
  virtual ~MatrixLayout() = default;

  virtual int outputs() const = 0;  // n
  virtual int inputs() const = 0;   // k
  virtual std::size_t bytes() const = 0;
  /// Of the library, its version and the layout: ranks with equal digests may share packed bytes.
  virtual std::uint64_t digest() const = 0;

  /// Output rows per call of pack(): a multiple of what the layout keeps together.
  virtual int panel_rows() const = 0;
  /// Writes output rows [first_row, first_row + rows) of the matrix into `packed`, the memory of
  /// the whole matrix (aligned to 64 bytes). `first_row` is a multiple of panel_rows(), and so is
  /// `rows` unless the panel is the last. Panels may be packed by several threads at once.
  virtual void pack(const float* w /*(rows, inputs)*/, int first_row, int rows,
                    Bytes packed) const = 0;
};

/// A weight matrix (outputs, inputs) in a device's layout. Borrows both.
struct PackedMatrix {
  const MatrixLayout* layout = nullptr;
  const std::byte* data = nullptr;  // layout->bytes(), aligned to 64
  const char* name = "matmul";      // of its product, in a trace
};

/// Some outputs of a weight matrix, from some of its inputs. Any cut is allowed; one through what
/// the layout keeps together (64 outputs by 16 inputs, or less) costs copies.
struct MatrixSlice {
  PackedMatrix matrix;
  Slice outputs;
  Slice inputs;  // one at least
};

inline MatrixSlice whole(const PackedMatrix& w) {
  return {w, {0, w.layout->outputs()}, {0, w.layout->inputs()}};
}
inline MatrixSlice slice_outputs(const PackedMatrix& w, const Slice& outputs) {
  return {w, outputs, {0, w.layout->inputs()}};
}
inline MatrixSlice slice_inputs(const PackedMatrix& w, const Slice& inputs) {
  return {w, {0, w.layout->outputs()}, inputs};
}

/// The embedding table in its file's form: rows are dequantised when they are looked up.
struct Embedding {
  TensorType type = TensorType::kF32;
  ConstBytes table;  // (vocabulary, hidden)
  int vocabulary = 0;
  int hidden = 0;
  float scale = 1;  // of every value that is looked up
};

struct NormWeight {
  const float* weight = nullptr;  // (hidden); null: no such norm
  int hidden = 0;
  float epsilon = 1e-5f;
};

/// Rows as the fused projection leaves them: query heads, then key heads, then value heads.
struct QkvRows {
  const float* qkv = nullptr;     // (rows, (query_heads + 2 kv_heads) * head_dim)
  const float* angles = nullptr;  // (rows, head_dim), see rope_angles
  std::int64_t rows = 0;
  HeadShape heads{};
  const float* bias = nullptr;  // of a row's values, added first; null: none
  NormWeight query_norm;        // of each query head, before it is turned; may be none
  NormWeight key_norm;
};

/// K and V of rows [row0, row0 + rows) go to columns column0... of `to`. The rows of a prefill
/// chunk are one target, a decode row is one.
struct KvTarget {
  std::int64_t row0 = 0;
  std::int64_t rows = 0;
  KvView to;
  std::int64_t column0 = 0;
};

enum class Output { kOverwrite, kAccumulate };

/// The feed-forward part of a layer: down(activation(gate) * up), of normed rows; or what some of
/// the `ffn` values between gate and down add to it.
struct FeedForward {
  NormWeight norm;
  PackedMatrix gate_up;  // (2 ffn, hidden): gate first
  Activation activation = Activation::kSilu;
  PackedMatrix down;  // (hidden, ffn)
  Slice columns;      // of the ffn

  bool is_whole() const { return columns.count == down.layout->inputs(); }
  MatrixSlice gate() const { return slice_outputs(gate_up, columns); }
  MatrixSlice up() const {
    return slice_outputs(gate_up, {down.layout->inputs() + columns.first, columns.count});
  }
};

/// Memory for what lies between two operations that are asked for as one, in the device's own form:
/// as many floats as rows times the width.
struct FeedForwardMemory {
  float* normed;   // hidden wide
  float* gate_up;  // twice the columns
  float* active;   // the columns
};

class ModelOps {
 public:
  virtual ~ModelOps() = default;

  /// For logs: "oneDNN 2.6.3, avx2".
  virtual std::string description() const = 0;
  /// The layout for matrices of this shape, as matmul() wants it.
  virtual std::unique_ptr<MatrixLayout> new_matrix_layout(int outputs, int inputs) const = 0;
  /// What an embedding table is kept as, to be looked up in by embed(): as the file has it, or as
  /// float32 or bfloat16.
  virtual TensorType embedding_type(TensorType in_file) const { return in_file; }

  /// Whether the first product of a shape waits for a kernel to be found and loaded, which whoever
  /// starts a job should wait for, not a request.
  virtual bool finds_kernels() const { return false; }

  /// Memory and kernels for summaries of so many rows at once; null where the host reads logits as
  /// well itself.
  virtual std::unique_ptr<LogitSummaries> new_logit_summaries(int /*vocabulary*/,
                                                              std::int64_t /*rows*/) const {
    return nullptr;
  }

  /// out[i] = row tokens[i] of the table, scaled. Ids must lie inside the vocabulary.
  virtual void embed(Stream& stream, const Embedding& embedding, std::vector<TokenId> tokens,
                     float* out /*(tokens, hidden)*/) = 0;
  /// out = x / sqrt(mean(x^2) + epsilon) * weight, row by row. `out` may be `x`.
  virtual void rms_norm(Stream& stream, const float* x /*(rows, hidden)*/, std::int64_t rows,
                        const NormWeight& norm, float* out /*(rows, hidden)*/) = 0;
  /// out = x w^T, or out += x w^T.
  virtual void matmul_slice(Stream& stream, const float* x /*(rows, w.inputs.count)*/,
                            std::int64_t rows, const MatrixSlice& w,
                            float* out /*(rows, w.outputs.count)*/, Output output) = 0;
  /// The same with all of w.
  void matmul(Stream& stream, const float* x /*(rows, inputs)*/, std::int64_t rows,
              const PackedMatrix& w, float* out /*(rows, outputs)*/, Output output) {
    matmul_slice(stream, x, rows, whole(w), out, output);
  }
  /// rms_norm(), then matmul_slice() of all inputs: out = norm(x) w^T. `normed`: memory for rows as
  /// wide as x, which are left there in the device's own form.
  virtual void normed_matmul(Stream& stream, const float* x /*(rows, hidden)*/, std::int64_t rows,
                             const NormWeight& norm, const MatrixSlice& w, float* normed,
                             float* out /*(rows, w.outputs.count)*/);
  /// rms_norm(), matmul(), glu() and matmul(): out = the feed-forward of x, or is added to. A
  /// device may keep in its products' precision what lies between. One column at least.
  virtual void feed_forward(Stream& stream, const float* x /*(rows, hidden)*/, std::int64_t rows,
                            const FeedForward& layer, const FeedForwardMemory& memory,
                            float* out /*(rows, hidden)*/, Output output);
  /// out += the sum of the parts, each of `values` values, added up in list order.
  virtual void add_sum(Stream& stream, std::vector<const float*> parts, std::int64_t values,
                       float* out) = 0;
  /// Cosines and sines of one step's positions: computed once, used by every layer.
  virtual void rope_angles(Stream& stream, const RopeTable& rope,
                           std::vector<std::int64_t> positions,
                           float* angles /*(positions, head_dim)*/) = 0;
  /// Adds the bias, norms and rotates Q into `q_out` and K into the targets, and copies V there.
  /// Rows that no target names are rotated only.
  virtual void rope_and_store(Stream& stream, const QkvRows& rows,
                              float* q_out /*(rows, query_heads, head_dim)*/,
                              std::vector<KvTarget> targets) = 0;
  /// The gated linear unit: out = activation(gate) * up.
  virtual void glu(Stream& stream, const float* gate_up /*(rows, 2 ffn): gate first*/,
                   std::int64_t rows, int ffn, Activation activation,
                   float* out /*(rows, ffn)*/) = 0;
  /// out = 0, `values` times.
  virtual void clear(Stream& stream, float* out, std::int64_t values) = 0;
  /// out[i] = x[rows[i]]: the rows that get logits.
  virtual void gather_rows(Stream& stream, const float* x /*(any, width)*/, int width,
                           std::vector<std::int64_t> rows, float* out /*(rows, width)*/) = 0;
};

/// Runs on CPU streams, with as many threads as the stream was given. Matrices lie in, and products
/// are taken in, `precision`.
std::unique_ptr<ModelOps> new_cpu_model_ops(Precision precision = Precision::kFloat32);

/// The same on a CUDA device, which outlives them; matrices are packed on the host and then copied
/// there. Throws ConfigError if this build has no CUDA, DeviceError where cuBLASLt is missing.
std::unique_ptr<ModelOps> new_cuda_model_ops(Device& device, Precision precision);

}  // namespace longspan
