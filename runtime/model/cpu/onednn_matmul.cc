#include "runtime/model/cpu/onednn_matmul.h"

#include <omp.h>

#include <algorithm>
#include <dnnl.hpp>
#include <list>
#include <mutex>
#include <string_view>

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

/// x (rows, k) times w (k, n), w as `weights` says.
matmul::primitive_desc describe(std::int64_t rows, const memory::desc& weights, Output output) {
  const memory::dims shape = [&] {
#if DNNL_VERSION_MAJOR >= 3
    return weights.get_dims();
#else
    return weights.dims();
#endif
  }();
  const auto x = matrix(rows, shape[0], kRowMajor);
  const auto out = matrix(rows, shape[1], kRowMajor);
  dnnl::post_ops after;
  if (output == Output::kAccumulate) after.append_sum(1.0f);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(after);
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

class OnednnLayout final : public MatrixLayout {
 public:
  OnednnLayout(int outputs, int inputs)
      : outputs_(outputs), inputs_(inputs), weights_(preferred(outputs, inputs)) {
    expects(outputs > 0 && inputs > 0, "a matrix has rows and columns");
    const std::string_view implementation =
        describe(kTypicalRows, weights_, Output::kOverwrite).impl_info_str();
    by_gemm_ = implementation.starts_with("gemm");
    is_row_major_ = weights_ == matrix(inputs, outputs, kRowMajor);
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

 private:
  /// A multiple of every block size oneDNN uses along the outputs (16, 32, 48, 64).
  static constexpr int kPanelRows = 768;

  static memory::desc preferred(int outputs, int inputs) {
    return describe(kTypicalRows, matrix(inputs, outputs, memory::format_tag::any),
                    Output::kOverwrite)
        .weights_desc();
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
  std::uint64_t digest_ = 0;
  int panel_rows_ = 0;
};

/// What a primitive depends on.
struct Shape {
  std::uint64_t layout;  // digest: covers inputs and outputs
  std::int64_t rows;
  Output output;

  friend bool operator==(const Shape&, const Shape&) = default;
};

/// The primitives used last. Making one takes 10-30 us once oneDNN has generated its code, so a
/// step of a new size costs little, and sizes that do not come back must not pile up.
class PrimitiveCache {
 public:
  matmul primitive(const Shape& shape, const memory::desc& weights) {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(entries_, shape, &Entry::shape);
    if (found != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, found);
    } else {
      entries_.push_front({shape, matmul(describe(shape.rows, weights, shape.output))});
      if (entries_.size() > kEntries) entries_.pop_back();
    }
    return entries_.front().primitive;
  }

 private:
  struct Entry {
    Shape shape;
    matmul primitive;
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

struct OnednnMatmul::State {
  const dnnl::engine& engine = cpu_engine();
  PrimitiveCache cache;

  void run(const float* x, std::int64_t rows, const PackedMatrix& w, float* out, Output output) {
    const auto& layout = static_cast<const OnednnLayout&>(*w.layout);
    const matmul primitive = cache.primitive({layout.digest(), rows, output}, layout.weights());
    // oneDNN has one type for memory it reads and memory it writes.
    memory x_memory(matrix(rows, layout.inputs(), kRowMajor), engine, const_cast<float*>(x));
    memory w_memory(layout.weights(), engine, const_cast<std::byte*>(w.data));
    memory out_memory(matrix(rows, layout.outputs(), kRowMajor), engine, out);
    dnnl::stream stream(engine);
    primitive.execute(
        stream,
        {{DNNL_ARG_SRC, x_memory}, {DNNL_ARG_WEIGHTS, w_memory}, {DNNL_ARG_DST, out_memory}});
    stream.wait();
  }
};

OnednnMatmul::OnednnMatmul() : state_(std::make_unique<State>()) {}
OnednnMatmul::~OnednnMatmul() = default;

void OnednnMatmul::multiply(const float* x, std::int64_t rows, const PackedMatrix& w, float* out,
                            Output output) {
  if (rows == 0) return;
  const auto& layout = static_cast<const OnednnLayout&>(*w.layout);
  if (rows == 1 || rows > kFewRows || !layout.slow_for_few_rows()) {
    return state_->run(x, rows, w, out, output);
  }
  multiply_few_rows(x, rows, reinterpret_cast<const float*>(w.data), layout.inputs(),
                    layout.outputs(), out, output == Output::kAccumulate);
}

}  // namespace longspan
