// Weight matrices as oneDNN multiplies by them.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <optional>
#include <vector>

#include "runtime/model/ops.h"

namespace longspan {

/// One for the process: descriptions and primitives point to the engine they were made with, and
/// oneDNN 2 does not keep it alive for them.
const dnnl::engine& onednn_engine();

/// A row-major matrix of float32, or of another type or order.
dnnl::memory::desc onednn_matrix(std::int64_t rows, std::int64_t columns,
                                 dnnl::memory::format_tag tag = dnnl::memory::format_tag::ab,
                                 dnnl::memory::data_type type = dnnl::memory::data_type::f32);

dnnl::memory::dims dims_of(const dnnl::memory::desc& desc);
std::uint64_t digest_of(const dnnl::memory::desc& desc);

/// x (rows, k) times w (k, n) into float32; x is of the type of `weights`, and rows of the result
/// lie `out_stride` values apart.
dnnl::matmul::primitive_desc describe_product(std::int64_t rows, const dnnl::memory::desc& weights,
                                              std::int64_t out_stride, Output output);

/// Some outputs and inputs of a packed matrix that can be multiplied by as they lie.
struct Piece {
  dnnl::memory::desc desc;  // (inputs, outputs)
  std::uint64_t digest;     // of desc
  std::size_t first;        // the packed value where it begins
  Slice outputs;
  Slice inputs;
};

/// Blocks of inputs x outputs, in panels of `outputs` columns: what oneDNN makes where it has
/// kernels of its own.
///
///   panel 0: inputs 0-15 x outputs 0-63 | inputs 16-31 x outputs 0-63 | ...
///   panel 1: inputs 0-15 x outputs 64-127 | ...
struct Blocking {
  int outputs;
  dnnl::memory::format_tag tag;
};

class OnednnLayout final : public MatrixLayout {
 public:
  /// In float32 as oneDNN prefers it at many rows; in bfloat16 in pair panels (pair_panels.h),
  /// which is what it prefers where it has that.
  OnednnLayout(int outputs, int inputs, Precision precision);
  /// In float32 and as given.
  OnednnLayout(int outputs, int inputs, const dnnl::memory::desc& weights);

  int outputs() const override { return outputs_; }
  int inputs() const override { return inputs_; }
  std::size_t bytes() const override { return whole_.desc.get_size(); }
  std::uint64_t digest() const override { return whole_.digest; }
  int panel_rows() const override { return panel_rows_; }
  void pack(const float* w, int first_row, int rows, Bytes packed) const override;

  Precision precision() const { return precision_; }
  int value_bytes() const { return precision_ == Precision::kBFloat16 ? 2 : 4; }
  /// All of the matrix.
  const Piece& whole() const { return whole_; }
  /// gemm copies the whole matrix into its own order first. For 2 ... 16 rows, 30 layers and head
  /// of a 135M model that takes 94 ms and up, where reading takes 30 (one Zen 3 core).
  bool slow_for_few_rows() const { return by_gemm_ && is_row_major_; }

  /// Pieces that hold the part: itself where the layout allows, whole blocks around it where it is
  /// blocked, the whole matrix where the layout is unknown to us. All have the same inputs.
  std::vector<Piece> pieces(const Slice& outputs, const Slice& inputs) const;

 private:
  dnnl::memory::desc panel(int first_row, int rows) const;
  bool can_pack_panels() const;
  /// Whether we write it ourselves: where it lies in rows or blocks that we know.
  bool is_known() const { return is_row_major_ || blocking_; }
  void transpose_into(const float* w, int first_row, int rows, float* packed) const;
  int block_inputs() const;

  int outputs_;
  int inputs_;
  Precision precision_ = Precision::kFloat32;
  Piece whole_;
  bool by_gemm_ = false;
  bool is_row_major_ = false;
  std::optional<Blocking> blocking_;
  int panel_rows_ = 0;
};

}  // namespace longspan
