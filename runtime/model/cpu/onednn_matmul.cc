#include "runtime/model/cpu/onednn_matmul.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <dnnl.hpp>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/cpu/few_rows_product.h"

namespace longspan {
namespace {

using dnnl::matmul;
using dnnl::memory;

constexpr auto kFloat = memory::data_type::f32;
constexpr auto kRowMajor = memory::format_tag::ab;
constexpr int kTypicalRows = 256;  // at which a layout is chosen

/// One for the process: descriptions and primitives point to the engine they were made with, and
/// oneDNN 2 does not keep it alive for them.
const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::desc matrix(std::int64_t rows, std::int64_t columns, memory::format_tag tag) {
  return {{rows, columns}, kFloat, tag};
}

memory::dims dims_of(const memory::desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
  return desc.get_dims();
#else
  return desc.dims();
#endif
}

/// x (rows, k) times w (k, n), w as `weights` says.
matmul::primitive_desc describe(std::int64_t rows, const memory::desc& weights, Output output) {
  const memory::dims shape = dims_of(weights);
  const auto x = matrix(rows, shape[0], kRowMajor);
  const auto out = matrix(rows, shape[1], kRowMajor);
  dnnl::post_ops after;
  if (output == Output::kAccumulate) after.append_sum(1.0f);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(after);
  // The library's own is the thread's that made the primitive; ours run on any thread.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  try {
#if DNNL_VERSION_MAJOR >= 3
    return {cpu_engine(), x, weights, out, attributes};
#else
    return {{x, weights, out}, attributes, cpu_engine()};
#endif
  } catch (const dnnl::error& error) {
    throw Error(ExitCode::kInternal, str("oneDNN has no product ({} x {}) by ({} x {}): {}", rows,
                                         shape[0], shape[0], shape[1], error.what()));
  }
}

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

std::uint64_t digest_of(const memory::desc& desc) {
  const dnnl_version_t* version = dnnl_version();
  std::uint64_t digest = 0xcbf29ce484222325u;
  auto add = [&](auto value) { digest = mix(digest, static_cast<std::uint64_t>(value)); };
  for (int part : {version->major, version->minor, version->patch}) add(part);
  add(desc.get_size());
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

/// Some outputs and inputs of a packed matrix that can be multiplied by as they lie.
struct Piece {
  memory::desc desc;  // (inputs, outputs)
  std::size_t first;  // the packed value where it begins
  Slice outputs;
  Slice inputs;
};

/// Blocks of kBlockInputs x outputs, in panels of `outputs` columns: what oneDNN makes for float32
/// where it has kernels of its own.
///
///   panel 0: inputs 0-15 x outputs 0-63 | inputs 16-31 x outputs 0-63 | ...
///   panel 1: inputs 0-15 x outputs 64-127 | ...
struct Blocking {
  int outputs;
  memory::format_tag tag;
};
constexpr int kBlockInputs = 16;
constexpr std::array kBlockings{
    Blocking{64, memory::format_tag::BA16a64b}, Blocking{48, memory::format_tag::BA16a48b},
    Blocking{32, memory::format_tag::BA16a32b}, Blocking{16, memory::format_tag::BA16a16b}};

/// The whole blocks of [0, width) that hold `part`.
Slice whole_blocks(const Slice& part, int block, int width) {
  const int first = part.first / block * block;
  const int end = std::min(width, (part.first + part.count + block - 1) / block * block);
  return {first, end - first};
}

class OnednnLayout final : public MatrixLayout {
 public:
  OnednnLayout(int outputs, int inputs)
      : OnednnLayout(outputs, inputs, preferred(outputs, inputs)) {}
  OnednnLayout(int outputs, int inputs, const memory::desc& weights)
      : outputs_(outputs), inputs_(inputs), weights_(weights) {
    expects(outputs > 0 && inputs > 0, "a matrix has rows and columns");
    const std::string_view implementation =
        describe(kTypicalRows, weights_, Output::kOverwrite).impl_info_str();
    by_gemm_ = implementation.starts_with("gemm");
    is_row_major_ = weights_ == matrix(inputs, outputs, kRowMajor);
    const auto blocking = std::ranges::find_if(kBlockings, [&](const Blocking& one) {
      return weights_ == matrix(inputs, outputs, one.tag);
    });
    if (blocking != kBlockings.end()) blocking_ = *blocking;
    digest_ = digest_of(weights_);
    panel_rows_ = can_pack_panels() ? kPanelRows : outputs;
  }

  int outputs() const override { return outputs_; }
  int inputs() const override { return inputs_; }
  std::size_t bytes() const override { return weights_.get_size(); }
  std::uint64_t digest() const override { return digest_; }
  int panel_rows() const override { return panel_rows_; }

  void pack(const float* w, int first_row, int rows, Bytes packed) const override {
    expects(packed.size() == bytes(), "pack() takes the memory of the whole matrix");
    expects(first_row % panel_rows_ == 0 && first_row + rows <= outputs_, "panels are aligned");
    if (rows == 0) return;
    const OneThread one_thread;  // the caller packs panels on threads of its own
    const dnnl::engine& engine = cpu_engine();
    dnnl::stream stream(engine);
    // The file's (outputs, inputs) row-major is oneDNN's (inputs, outputs) transposed.
    memory from(matrix(inputs_, rows, memory::format_tag::ba), engine, const_cast<float*>(w));
    memory to(panel(first_row, rows), engine, packed.data());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
  }

  const memory::desc& weights() const { return weights_; }
  /// gemm copies the whole matrix into its own order first. For 2 ... 16 rows, 30 layers and head
  /// of a 135M model that takes 94 ms and up, where reading takes 30 (one Zen 3 core).
  bool slow_for_few_rows() const { return by_gemm_ && is_row_major_; }

  /// Pieces that hold the part: itself where the layout allows, whole blocks around it where it is
  /// blocked, the whole matrix where the layout is unknown to us. All have the same inputs.
  std::vector<Piece> pieces(const Slice& outputs, const Slice& inputs) const {
    if (is_row_major_) {
      const memory::desc desc({inputs.count, outputs.count}, kFloat, memory::dims{outputs_, 1});
      return {{desc, at(inputs.first, outputs_) + outputs.first, outputs, inputs}};
    }
    if (!blocking_) return {{weights_, 0, {0, outputs_}, {0, inputs_}}};
    const Slice n = whole_blocks(outputs, blocking_->outputs, outputs_);
    const Slice k = whole_blocks(inputs, kBlockInputs, inputs_);
    const int padded_inputs = (inputs_ + kBlockInputs - 1) / kBlockInputs * kBlockInputs;
    // Some inputs of several panels are no layout that oneDNN has kernels for; of one panel they
    // are.
    const int step = k.count == inputs_ ? n.count : blocking_->outputs;
    std::vector<Piece> list;
    for (int first = n.first; first < n.first + n.count; first += step) {
      const int count = std::min(step, n.first + n.count - first);
      list.push_back({matrix(k.count, count, blocking_->tag),
                      at(first, padded_inputs) + at(k.first, blocking_->outputs),
                      {first, count},
                      k});
    }
    return list;
  }

 private:
  /// A multiple of every block size oneDNN uses along the outputs (16, 32, 48, 64).
  static constexpr int kPanelRows = 768;

  static memory::desc preferred(int outputs, int inputs) {
    return describe(kTypicalRows, matrix(inputs, outputs, memory::format_tag::any),
                    Output::kOverwrite)
        .weights_desc();
  }

  static std::size_t at(int index, int stride) {
    return static_cast<std::size_t>(index) * static_cast<std::size_t>(stride);
  }

  memory::desc panel(int first_row, int rows) const {
    if (rows == outputs_) return weights_;
    return weights_.submemory_desc({inputs_, rows}, {0, first_row});
  }

  bool can_pack_panels() const {
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

  int outputs_;
  int inputs_;
  memory::desc weights_;
  bool by_gemm_ = false;
  bool is_row_major_ = false;
  std::optional<Blocking> blocking_;
  std::uint64_t digest_ = 0;
  int panel_rows_ = 0;
};

/// At least so many bytes, of the calling thread's own, aligned to a cache line.
std::byte* thread_scratch(std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  thread_local std::vector<std::byte> memory;
  if (memory.size() < bytes + kLine) memory.resize(bytes + kLine);
  void* at = memory.data();
  std::size_t room = memory.size();
  return static_cast<std::byte*>(std::align(kLine, bytes, at, room));
}

/// What a primitive depends on.
struct Shape {
  std::uint64_t weights;  // digest: covers inputs and outputs
  std::int64_t rows;
  Output output;

  friend bool operator==(const Shape&, const Shape&) = default;
};

/// The primitives used last. Making one takes 10-30 us once oneDNN has generated its code, so a
/// step of a new size costs little, and sizes that do not come back must not pile up.
class PrimitiveCache {
 public:
  struct Primitive {
    matmul primitive;
    memory::desc scratchpad;  // what it needs while it runs
  };

  Primitive primitive(const Shape& shape, const memory::desc& weights) {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(entries_, shape, &Entry::shape);
    if (found != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, found);
    } else {
      const matmul::primitive_desc description = describe(shape.rows, weights, shape.output);
      entries_.push_front({shape, {matmul(description), description.scratchpad_desc()}});
      if (entries_.size() > kEntries) entries_.pop_back();
    }
    return entries_.front().primitive;
  }

 private:
  struct Entry {
    Shape shape;
    Primitive primitive;
  };
  static constexpr std::size_t kEntries = 64;  // 5 matrix shapes, a dozen numbers of rows

  std::mutex mutex_;
  std::list<Entry> entries_;
};

}  // namespace

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return str("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

std::unique_ptr<MatrixLayout> new_onednn_layout(int outputs, int inputs) {
  return std::make_unique<OnednnLayout>(outputs, inputs);
}

std::unique_ptr<MatrixLayout> new_blocked_onednn_layout(int outputs, int inputs) {
  return std::make_unique<OnednnLayout>(outputs, inputs,
                                        matrix(inputs, outputs, kBlockings.front().tag));
}

struct OnednnMatmul::State {
  const dnnl::engine& engine = cpu_engine();
  PrimitiveCache cache;

  void run(const float* x, std::int64_t rows, const memory::desc& weights, std::uint64_t digest,
           const void* w, float* out, Output output) {
    const auto [primitive, scratchpad] = cache.primitive({digest, rows, output}, weights);
    const memory::dims shape = dims_of(weights);
    // oneDNN has one type for memory it reads and memory it writes.
    memory x_memory(matrix(rows, shape[0], kRowMajor), engine, const_cast<float*>(x));
    memory w_memory(weights, engine, const_cast<void*>(w));
    memory out_memory(matrix(rows, shape[1], kRowMajor), engine, out);
    memory scratchpad_memory(scratchpad, engine, thread_scratch(scratchpad.get_size()));
    dnnl::stream stream(engine);
    primitive.execute(stream, {{DNNL_ARG_SRC, x_memory},
                               {DNNL_ARG_WEIGHTS, w_memory},
                               {DNNL_ARG_DST, out_memory},
                               {DNNL_ARG_SCRATCHPAD, scratchpad_memory}});
    stream.wait();
  }

  void run(const float* x, std::int64_t rows, const Piece& piece, const float* packed, float* out,
           Output output) {
    run(x, rows, piece.desc, digest_of(piece.desc), packed + piece.first, out, output);
  }

  /// By pieces that reach beyond the slice or share it: x is padded with zeros for what the pieces
  /// have too much of, and of their products the slice's outputs are added up.
  void run_around(const float* x, std::int64_t rows, const MatrixSlice& w,
                  const std::vector<Piece>& pieces, float* out, Output output) {
    const auto* packed = reinterpret_cast<const float*>(w.matrix.data);
    const Slice inputs = pieces.front().inputs;
    std::vector<float> padded(rows * inputs.count, 0.0f);
    for (std::int64_t row = 0; row < rows; ++row) {
      std::copy_n(x + row * w.inputs.count, w.inputs.count,
                  &padded[row * inputs.count + w.inputs.first - inputs.first]);
    }
    if (output == Output::kOverwrite) std::fill_n(out, rows * w.outputs.count, 0.0f);
    for (const Piece& piece : pieces) {
      const Slice& outputs = piece.outputs;
      std::vector<float> product(rows * outputs.count);
      run(padded.data(), rows, piece, packed, product.data(), Output::kOverwrite);
      const int begin = std::max(outputs.first, w.outputs.first);
      const int end = std::min(outputs.first + outputs.count, w.outputs.first + w.outputs.count);
      for (std::int64_t row = 0; row < rows; ++row) {
        const float* from = product.data() + row * outputs.count - outputs.first;
        float* to = out + row * w.outputs.count - w.outputs.first;
        for (int i = begin; i < end; ++i) to[i] += from[i];
      }
    }
  }
};

OnednnMatmul::OnednnMatmul() : state_(std::make_unique<State>()) {}
OnednnMatmul::~OnednnMatmul() = default;

void OnednnMatmul::multiply(const float* x, std::int64_t rows, const PackedMatrix& w, float* out,
                            Output output) {
  if (rows == 0) return;
  const auto& layout = static_cast<const OnednnLayout&>(*w.layout);
  if (rows == 1 || rows > kFewRows || !layout.slow_for_few_rows()) {
    return state_->run(x, rows, layout.weights(), layout.digest(), w.data, out, output);
  }
  multiply_few_rows(x, rows, reinterpret_cast<const float*>(w.data), layout.outputs(),
                    layout.inputs(), layout.outputs(), out, output == Output::kAccumulate);
}

void OnednnMatmul::multiply(const float* x, std::int64_t rows, const MatrixSlice& w, float* out,
                            Output output) {
  const auto& layout = static_cast<const OnednnLayout&>(*w.matrix.layout);
  const auto inside = [](const Slice& part, int width) {
    return part.first >= 0 && part.count >= 0 && part.first + part.count <= width;
  };
  expects(inside(w.outputs, layout.outputs()) && inside(w.inputs, layout.inputs()) &&
              w.inputs.count > 0,
          "a slice lies inside its matrix and has inputs");
  if (rows == 0 || w.outputs.count == 0) return;
  const std::vector<Piece> pieces = layout.pieces(w.outputs, w.inputs);
  const Piece& first = pieces.front();
  if (pieces.size() > 1 || first.outputs != w.outputs || first.inputs != w.inputs) {
    return state_->run_around(x, rows, w, pieces, out, output);
  }
  const auto* packed = reinterpret_cast<const float*>(w.matrix.data);
  if (rows == 1 || rows > kFewRows || !layout.slow_for_few_rows()) {
    return state_->run(x, rows, first, packed, out, output);
  }
  multiply_few_rows(x, rows, packed + first.first, layout.outputs(), w.inputs.count,
                    w.outputs.count, out, output == Output::kAccumulate);
}

}  // namespace longspan
