#include "runtime/model/cpu/onednn_matmul.h"

#include <algorithm>
#include <dnnl.hpp>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/cpu/few_rows_product.h"
#include "runtime/model/cpu/onednn_layout.h"
#include "runtime/model/cpu/pair_panels.h"
#include "runtime/model/cpu/parallel_rows.h"
#include "runtime/model/cpu/vector_kernels.h"

namespace longspan {
namespace {

using dnnl::matmul;
using dnnl::memory;

/// Memory of the calling thread's own, kept from call to call. What one use left is overwritten by
/// the next, so parts that live at the same time come from different scratches.
class ThreadScratch {
 public:
  /// At least so many bytes, aligned to a cache line.
  std::byte* bytes(std::size_t count) {
    constexpr std::size_t kLine = 64;
    if (memory_.size() < count + kLine) memory_.resize(count + kLine);
    void* at = memory_.data();
    std::size_t room = memory_.size();
    return static_cast<std::byte*>(std::align(kLine, count, at, room));
  }
  template <typename T>
  T* values(std::int64_t count) {
    return reinterpret_cast<T*>(bytes(count * sizeof(T)));
  }

 private:
  std::vector<std::byte> memory_;
};

thread_local ThreadScratch scratchpads, rounded_rows, widened_weights;

/// What a primitive depends on.
struct Shape {
  std::uint64_t weights;  // digest: covers inputs and outputs
  std::int64_t rows;
  std::int64_t out_stride;
  Output output;

  friend bool operator==(const Shape&, const Shape&) = default;
};

/// The primitives used last. Making one takes 10-30 us once oneDNN has generated its code, so a
/// step of a new size costs little, and sizes that do not come back must not pile up.
class PrimitiveCache {
 public:
  struct Primitive {
    matmul primitive;
    memory::desc x, out;
    memory::desc scratchpad;  // what it needs while it runs
  };

  Primitive primitive(const Shape& shape, const memory::desc& weights) {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(entries_, shape, &Entry::shape);
    if (found != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, found);
    } else {
      const matmul::primitive_desc description =
          describe_product(shape.rows, weights, shape.out_stride, shape.output);
      entries_.push_front({shape,
                           {matmul(description), description.src_desc(), description.dst_desc(),
                            description.scratchpad_desc()}});
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

/// x in bfloat16.
const std::uint16_t* rounded(const float* x, std::int64_t rows, std::int64_t inputs) {
  auto* out = rounded_rows.values<std::uint16_t>(rows * inputs);
  for_rows(rows, inputs,
           [=](std::int64_t row) { narrow_row(x + row * inputs, inputs, out + row * inputs); });
  return out;
}

/// x as bfloat16 would hold it.
const float* rounded_floats(const float* x, std::int64_t rows, std::int64_t inputs) {
  auto* out = rounded_rows.values<float>(rows * inputs);
  for_rows(rows, inputs,
           [=](std::int64_t row) { round_row(x + row * inputs, inputs, out + row * inputs); });
  return out;
}

}  // namespace

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return str("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

std::unique_ptr<MatrixLayout> new_onednn_layout(int outputs, int inputs, Precision precision) {
  return std::make_unique<OnednnLayout>(outputs, inputs, precision);
}

std::unique_ptr<MatrixLayout> new_blocked_onednn_layout(int outputs, int inputs) {
  return std::make_unique<OnednnLayout>(
      outputs, inputs, onednn_matrix(inputs, outputs, memory::format_tag::BA16a64b));
}

struct OnednnMatmul::State {
  explicit State(bool own) : own_bfloat16(own || !onednn_has_bfloat16()) {}

  const dnnl::engine& engine = onednn_engine();
  const bool own_bfloat16;
  PrimitiveCache cache;

  /// x is of the type of the weights.
  void run(const void* x, std::int64_t rows, const memory::desc& weights, std::uint64_t digest,
           const void* w, std::int64_t out_stride, float* out, Output output) {
    const auto [primitive, x_desc, out_desc, scratchpad] =
        cache.primitive({digest, rows, out_stride, output}, weights);
    // oneDNN has one type for memory it reads and memory it writes.
    memory x_memory(x_desc, engine, const_cast<void*>(x));
    memory w_memory(weights, engine, const_cast<void*>(w));
    memory out_memory(out_desc, engine, out);
    memory scratchpad_memory(scratchpad, engine, scratchpads.bytes(scratchpad.get_size()));
    dnnl::stream stream(engine);
    primitive.execute(stream, {{DNNL_ARG_SRC, x_memory},
                               {DNNL_ARG_WEIGHTS, w_memory},
                               {DNNL_ARG_DST, out_memory},
                               {DNNL_ARG_SCRATCHPAD, scratchpad_memory}});
    stream.wait();
  }

  /// By weights in pair panels. Rows go in blocks: the rounded ones of a block stay in the cache.
  void run_bfloat16(const float* x, std::int64_t rows, const Piece& piece, const std::uint16_t* w,
                    float* out, Output output) {
    constexpr std::int64_t kRows = 512;
    const std::int64_t inputs = piece.inputs.count, outputs = piece.outputs.count;
    for (std::int64_t first = 0; first < rows; first += kRows) {
      const std::int64_t some = std::min(kRows, rows - first);
      const float* from = x + first * inputs;
      float* to = out + first * outputs;
      // One row takes no instructions for matrices, and is shared out more evenly by ourselves.
      if (!own_bfloat16 && some > 1) {
        run(rounded(from, some, inputs), some, piece.desc, piece.digest, w, outputs, to, output);
      } else if (some <= kFewRows) {
        multiply_panels(rounded_floats(from, some, inputs), some, w, inputs, outputs, outputs, to,
                        output == Output::kAccumulate);
      } else {
        run_widened(rounded_floats(from, some, inputs), some, piece, w, to, output);
      }
    }
  }

  void run_widened(const float* x, std::int64_t rows, const Piece& piece, const std::uint16_t* w,
                   float* out, Output output) {
    constexpr std::int64_t kOutputs = 8 * kPanelOutputs;  // widened at once: they stay in the cache
    const std::int64_t inputs = piece.inputs.count, outputs = piece.outputs.count;
    for (std::int64_t first = 0; first < outputs; first += kOutputs) {
      const std::int64_t some = std::min(kOutputs, outputs - first);
      auto* widened = widened_weights.values<float>(inputs * some);
      widen_panels(w + first / kPanelOutputs * panel_values(inputs), inputs, some, widened);
      const memory::desc weights = onednn_matrix(inputs, some);
      run(x, rows, weights, digest_of(weights), widened, outputs, out + first, output);
    }
  }

  /// As the weights lie.
  void run_piece(const OnednnLayout& layout, const float* x, std::int64_t rows, const Piece& piece,
                 const std::byte* packed, float* out, Output output) {
    const std::byte* w = packed + piece.first * layout.value_bytes();
    if (layout.precision() == Precision::kBFloat16) {
      return run_bfloat16(x, rows, piece, reinterpret_cast<const std::uint16_t*>(w), out, output);
    }
    if (rows > 1 && rows <= kFewRows && layout.slow_for_few_rows()) {
      return multiply_few_rows(x, rows, reinterpret_cast<const float*>(w), layout.outputs(),
                               piece.inputs.count, piece.outputs.count, out,
                               output == Output::kAccumulate);
    }
    run(x, rows, piece.desc, piece.digest, w, piece.outputs.count, out, output);
  }

  /// By pieces that reach beyond the slice or share it: x is padded with zeros for what the pieces
  /// have too much of, and of their products the slice's outputs are added up.
  void run_around(const OnednnLayout& layout, const float* x, std::int64_t rows,
                  const MatrixSlice& w, const std::vector<Piece>& pieces, float* out,
                  Output output) {
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
      run_piece(layout, padded.data(), rows, piece, w.matrix.data, product.data(),
                Output::kOverwrite);
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

OnednnMatmul::OnednnMatmul(bool own_bfloat16) : state_(std::make_unique<State>(own_bfloat16)) {}
OnednnMatmul::~OnednnMatmul() = default;

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
  if (w.outputs.count == layout.outputs() && w.inputs.count == layout.inputs()) {
    return state_->run_piece(layout, x, rows, layout.whole(), w.matrix.data, out, output);
  }
  const std::vector<Piece> pieces = layout.pieces(w.outputs, w.inputs);
  const Piece& first = pieces.front();
  if (pieces.size() > 1 || first.outputs != w.outputs || first.inputs != w.inputs) {
    return state_->run_around(layout, x, rows, w, pieces, out, output);
  }
  state_->run_piece(layout, x, rows, first, w.matrix.data, out, output);
}

}  // namespace longspan
