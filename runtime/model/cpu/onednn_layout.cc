#include "runtime/model/cpu/onednn_layout.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/cpu/onednn_matmul.h"
#include "runtime/model/cpu/pair_panels.h"
#include "runtime/model/cpu/transpose.h"

namespace longspan {
namespace {

using dnnl::matmul;
using dnnl::memory;

constexpr int kTypicalRows = 256;  // at which a layout is chosen
constexpr auto kPairPanels = memory::format_tag::BA16a64b2a;
constexpr int kBlockInputs = 16;
constexpr std::array kBlockings{
    Blocking{64, memory::format_tag::BA16a64b}, Blocking{48, memory::format_tag::BA16a48b},
    Blocking{32, memory::format_tag::BA16a32b}, Blocking{16, memory::format_tag::BA16a16b}};
/// A multiple of every block size oneDNN uses along the outputs (16, 32, 48, 64).
constexpr int kPanelRows = 768;
/// Where we pack: few enough that rows which were just dequantised are still in a core's cache.
constexpr int kCachedRows = 64;

/// Restores the caller's number of OpenMP threads.
class OneThread {
 public:
  OneThread() { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = omp_get_max_threads();
};

std::uint64_t mix(std::uint64_t digest, std::uint64_t value) {  // FNV-1a, eight bytes at a time
  return (digest ^ value) * 0x100000001b3u;
}

memory::data_type type_of(const memory::desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
  return desc.get_data_type();
#else
  return desc.data_type();
#endif
}

memory::desc pair_panels(std::int64_t inputs, std::int64_t outputs) {
  return onednn_matrix(inputs, outputs, kPairPanels, memory::data_type::bf16);
}

memory::desc preferred(int outputs, int inputs) {
  return describe_product(kTypicalRows, onednn_matrix(inputs, outputs, memory::format_tag::any),
                          outputs, Output::kOverwrite)
      .weights_desc();
}

std::size_t at(std::int64_t index, std::int64_t stride) {
  return static_cast<std::size_t>(index) * static_cast<std::size_t>(stride);
}

Piece piece_of(const memory::desc& desc, std::size_t first, const Slice& outputs,
               const Slice& inputs) {
  return {desc, digest_of(desc), first, outputs, inputs};
}

/// The whole blocks of [0, width) that hold `part`.
Slice whole_blocks(const Slice& part, int block, int width) {
  const int first = part.first / block * block;
  const int end = std::min(width, (part.first + part.count + block - 1) / block * block);
  return {first, end - first};
}

}  // namespace

const dnnl::engine& onednn_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::desc onednn_matrix(std::int64_t rows, std::int64_t columns, memory::format_tag tag,
                           memory::data_type type) {
  return {{rows, columns}, type, tag};
}

memory::dims dims_of(const memory::desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
  return desc.get_dims();
#else
  return desc.dims();
#endif
}

matmul::primitive_desc describe_product(std::int64_t rows, const memory::desc& weights,
                                        std::int64_t out_stride, Output output) {
  const memory::dims shape = dims_of(weights);
  const auto x = onednn_matrix(rows, shape[0], memory::format_tag::ab, type_of(weights));
  const memory::desc out({rows, shape[1]}, memory::data_type::f32, memory::dims{out_stride, 1});
  dnnl::post_ops after;
  if (output == Output::kAccumulate) after.append_sum(1.0f);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(after);
  // The library's own is the thread's that made the primitive; ours run on any thread.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  try {
#if DNNL_VERSION_MAJOR >= 3
    return {onednn_engine(), x, weights, out, attributes};
#else
    return {{x, weights, out}, attributes, onednn_engine()};
#endif
  } catch (const dnnl::error& error) {
    throw Error(ExitCode::kInternal, str("oneDNN has no product ({} x {}) by ({} x {}): {}", rows,
                                         shape[0], shape[0], shape[1], error.what()));
  }
}

bool onednn_has_bfloat16() {
  static const bool has = [] {
    try {
      const auto product =
          describe_product(kTypicalRows, pair_panels(64, 64), 64, Output::kAccumulate);
      return std::string_view(product.impl_info_str()).starts_with("brg");
    } catch (const Error&) {
      return false;
    }
  }();
  return has;
}

std::uint64_t digest_of(const memory::desc& desc) {
  const dnnl_version_t* version = dnnl_version();
  std::uint64_t digest = 0xcbf29ce484222325u;
  auto add = [&](auto value) { digest = mix(digest, static_cast<std::uint64_t>(value)); };
  for (int part : {version->major, version->minor, version->patch}) add(part);
  add(desc.get_size());
  add(type_of(desc));
#if DNNL_VERSION_MAJOR >= 3
  for (auto extent : desc.get_dims()) add(extent);
  for (auto stride : desc.get_strides()) add(stride);
  for (auto block : desc.get_inner_blks()) add(block);
  for (auto index : desc.get_inner_idxs()) add(index);
#else
  add(desc.data.format_kind);
  for (int i = 0; i < desc.data.ndims; ++i) add(desc.data.dims[i]);
  if (desc.data.format_kind != dnnl_blocked) return digest;
  const auto& blocks = desc.data.format_desc.blocking;
  for (int i = 0; i < desc.data.ndims; ++i) add(blocks.strides[i]);
  for (int i = 0; i < blocks.inner_nblks; ++i) add(blocks.inner_blks[i]);
  for (int i = 0; i < blocks.inner_nblks; ++i) add(blocks.inner_idxs[i]);
#endif
  return digest;
}

OnednnLayout::OnednnLayout(int outputs, int inputs, Precision precision)
    : outputs_(outputs), inputs_(inputs), precision_(precision) {
  expects(outputs > 0 && inputs > 0, "a matrix has rows and columns");
  if (precision == Precision::kFloat32) {
    *this = OnednnLayout(outputs, inputs, preferred(outputs, inputs));
    return;
  }
  whole_ = piece_of(pair_panels(inputs, outputs), 0, {0, outputs}, {0, inputs});
  blocking_ = Blocking{kPanelOutputs, kPairPanels};
  panel_rows_ = kCachedRows;
}

OnednnLayout::OnednnLayout(int outputs, int inputs, const memory::desc& weights)
    : outputs_(outputs), inputs_(inputs), whole_(piece_of(weights, 0, {0, outputs}, {0, inputs})) {
  expects(outputs > 0 && inputs > 0, "a matrix has rows and columns");
  const std::string_view implementation =
      describe_product(kTypicalRows, weights, outputs, Output::kOverwrite).impl_info_str();
  by_gemm_ = implementation.starts_with("gemm");
  is_row_major_ = weights == onednn_matrix(inputs, outputs);
  const auto blocking = std::ranges::find_if(kBlockings, [&](const Blocking& one) {
    return weights == onednn_matrix(inputs, outputs, one.tag);
  });
  if (blocking != kBlockings.end()) blocking_ = *blocking;
  if (is_known()) {
    const int block = blocking_ ? blocking_->outputs : 1;
    panel_rows_ = (kCachedRows + block - 1) / block * block;
  } else {
    panel_rows_ = can_pack_panels() ? kPanelRows : outputs;
  }
}

void OnednnLayout::pack(const float* w, int first_row, int rows, Bytes packed) const {
  expects(packed.size() == bytes(), "pack() takes the memory of the whole matrix");
  expects(first_row % panel_rows_ == 0 && first_row + rows <= outputs_, "panels are aligned");
  if (rows == 0) return;
  if (precision_ == Precision::kBFloat16) {
    auto* values = reinterpret_cast<std::uint16_t*>(packed.data());
    for (int row = 0; row < rows; row += kPanelOutputs) {
      pack_panel(w + std::ptrdiff_t{row} * inputs_, std::min(kPanelOutputs, rows - row), inputs_,
                 values + (first_row + row) / kPanelOutputs * panel_values(inputs_));
    }
    return;
  }
  if (is_known()) {
    transpose_into(w, first_row, rows, reinterpret_cast<float*>(packed.data()));
    return;
  }
  const OneThread one_thread;  // the caller packs panels on threads of its own
  const dnnl::engine& engine = onednn_engine();
  dnnl::stream stream(engine);
  // The file's (outputs, inputs) row-major is oneDNN's (inputs, outputs) transposed.
  memory from(onednn_matrix(inputs_, rows, memory::format_tag::ba), engine, const_cast<float*>(w));
  memory to(panel(first_row, rows), engine, packed.data());
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
}

/// Row-major, the packed matrix is the transpose; blocked, each panel of its outputs is one, with
/// zeros where outputs and inputs end inside a block.
void OnednnLayout::transpose_into(const float* w, int first_row, int rows, float* packed) const {
  if (is_row_major_) return transpose(w, rows, inputs_, inputs_, packed + first_row, outputs_);
  const int width = blocking_->outputs;
  const int height = (inputs_ + kBlockInputs - 1) / kBlockInputs * kBlockInputs;
  for (int row = 0; row < rows; row += width) {
    const int used = std::min(width, rows - row);
    float* panel = packed + at(first_row + row, height);
    transpose(w + at(row, inputs_), used, inputs_, inputs_, panel, width);
    if (used < width) {
      for (int i = 0; i < inputs_; ++i)
        std::fill_n(panel + at(i, width) + used, width - used, 0.0f);
    }
    std::fill(panel + at(inputs_, width), panel + at(height, width), 0.0f);
  }
}

int OnednnLayout::block_inputs() const {
  return precision_ == Precision::kBFloat16 ? kPanelInputs : kBlockInputs;
}

std::vector<Piece> OnednnLayout::pieces(const Slice& outputs, const Slice& inputs) const {
  if (is_row_major_) {
    const memory::desc desc({inputs.count, outputs.count}, memory::data_type::f32,
                            memory::dims{outputs_, 1});
    return {piece_of(desc, at(inputs.first, outputs_) + outputs.first, outputs, inputs)};
  }
  if (!blocking_) return {whole_};
  const int block = block_inputs();
  const Slice n = whole_blocks(outputs, blocking_->outputs, outputs_);
  const Slice k = whole_blocks(inputs, block, inputs_);
  const int padded_inputs = (inputs_ + block - 1) / block * block;
  // Some inputs of several panels are no layout that oneDNN has kernels for; of one panel they
  // are.
  const int step = k.count == inputs_ ? n.count : blocking_->outputs;
  std::vector<Piece> list;
  for (int first = n.first; first < n.first + n.count; first += step) {
    const int count = std::min(step, n.first + n.count - first);
    list.push_back(piece_of(onednn_matrix(k.count, count, blocking_->tag, type_of(whole_.desc)),
                            at(first, padded_inputs) + at(k.first, blocking_->outputs),
                            {first, count}, k));
  }
  return list;
}

memory::desc OnednnLayout::panel(int first_row, int rows) const {
  if (rows == outputs_) return whole_.desc;
  return whole_.desc.submemory_desc({inputs_, rows}, {0, first_row});
}

bool OnednnLayout::can_pack_panels() const {
  if (outputs_ <= kPanelRows) return true;
  try {
    const int last = outputs_ - (outputs_ - 1) / kPanelRows * kPanelRows;
    panel(0, kPanelRows);
    panel(outputs_ - last, last);
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}

}  // namespace longspan
