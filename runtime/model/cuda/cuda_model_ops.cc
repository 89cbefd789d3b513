#include "runtime/model/cuda/cuda_model_ops.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "attention/cuda/descriptor_pool.h"
#include "attention/head_dim.h"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/cuda/cuda_logit_summaries.h"
#include "runtime/model/cuda/cuda_matmul.h"
#include "runtime/model/cuda/cuda_matrix_layout.h"
#include "runtime/model/cuda/rope_kernels.h"
#include "runtime/model/cuda/row_kernels.h"

namespace longspan {
namespace {

/// The device, made current: launches go to streams of the current one only.
CudaDevice& current(Device& device) {
  auto* cuda = dynamic_cast<CudaDevice*>(&device);
  expects(cuda != nullptr, "these operations run on a CUDA device");
  cuda_check(cudaSetDevice(cuda->ordinal()), str("GPU {}", cuda->ordinal()));
  return *cuda;
}

/// The pages that the target's columns lie in: no more of its table is sent to the GPU.
std::span<const std::int32_t> pages_of(const KvTarget& target) {
  if (!target.to.table || target.rows == 0) return {};
  const std::int64_t first = target.column0 / target.to.page_tokens;
  const std::int64_t last = (target.column0 + target.rows - 1) / target.to.page_tokens;
  return {target.to.table + first, static_cast<std::size_t>(last - first + 1)};
}

using NormRows = void (*)(const float*, std::int64_t, const NormWeight&, float*, cudaStream_t);
using NormRowsNarrow = void (*)(const float*, std::int64_t, const NormWeight&, std::uint16_t*,
                                cudaStream_t);
using Glu = void (*)(const float*, std::int64_t, int, Activation, float*, cudaStream_t);
using GluNarrow = void (*)(const std::uint16_t*, std::int64_t, int, Activation, std::uint16_t*,
                           cudaStream_t);
constexpr NormRows kNormRows = launch_rms_norm;
constexpr NormRowsNarrow kNormRowsNarrow = launch_rms_norm;
constexpr Glu kGlu = launch_glu;
constexpr GluNarrow kGluNarrow = launch_glu;

void launch_clear(float* out, std::int64_t values, cudaStream_t stream) {
  cuda_check(cudaMemsetAsync(out, 0, values * sizeof(float), stream), "clearing values");
}

bool scores_on_gpu(const char* word) {
  const std::string_view name = word ? word : "gpu";
  if (name == "gpu" || name == "host") return name == "gpu";
  throw ConfigError(str("LONGSPAN_SCORES is {}; it may be gpu or host", name));
}

class CudaModelOps final : public ModelOps {
 public:
  CudaModelOps(Device& device, Precision precision, bool summarises)
      : device_(current(device)),
        precision_(precision),
        summarises_(summarises),
        descriptors_(device),
        matmul_(device_) {}

  std::string description() const override {
    return str("{}, {}", matmul_.version(), name(precision_));
  }

  std::unique_ptr<MatrixLayout> new_matrix_layout(int outputs, int inputs) const override {
    return std::make_unique<CudaMatrixLayout>(outputs, inputs, precision_);
  }

  TensorType embedding_type(TensorType in_file) const override {
    if (block_values(in_file) == 1) return in_file;
    return precision_ == Precision::kBFloat16 ? TensorType::kBF16 : TensorType::kF32;
  }

  bool finds_kernels() const override { return true; }

  std::unique_ptr<LogitSummaries> new_logit_summaries(int vocabulary,
                                                      std::int64_t rows) const override {
    if (!summarises_) return nullptr;
    return std::make_unique<CudaLogitSummaries>(device_, vocabulary, rows);
  }

  void embed(Stream& stream, const Embedding& embedding, std::vector<TokenId> tokens,
             float* out) override {
    expects(std::ranges::all_of(tokens,
                                [&](TokenId id) { return id >= 0 && id < embedding.vocabulary; }),
            "tokens lie inside the vocabulary");
    with_list<TokenId>(stream, tokens, [&](const TokenId* list, CudaStream& to) {
      to.launch<launch_embed>(embedding, list, std::ssize(tokens), out);
    });
  }

  void rms_norm(Stream& stream, const float* x, std::int64_t rows, const NormWeight& norm,
                float* out) override {
    native(stream).launch<kNormRows>(x, rows, norm, out);
  }

  void matmul_slice(Stream& stream, const float* x, std::int64_t rows, const MatrixSlice& w,
                    float* out, Output output) override {
    matmul_.multiply(native(stream), x, rows, w, out, output);
  }

  void normed_matmul(Stream& stream, const float* x, std::int64_t rows, const NormWeight& norm,
                     const MatrixSlice& w, float* normed, float* out) override {
    if (!narrows(norm.hidden)) {
      return ModelOps::normed_matmul(stream, x, rows, norm, w, normed, out);
    }
    CudaStream& to = native(stream);
    to.launch<kNormRowsNarrow>(x, rows, norm, narrow(normed));
    matmul_.multiply(to, narrow(normed), rows, w, out, Output::kOverwrite);
  }

  void feed_forward(Stream& stream, const float* x, std::int64_t rows, const FeedForward& layer,
                    const FeedForwardMemory& memory, float* out, Output output) override {
    const int columns = layer.columns.count;
    if (!narrows(layer.norm.hidden) || !narrows(columns)) {
      return ModelOps::feed_forward(stream, x, rows, layer, memory, out, output);
    }
    CudaStream& to = native(stream);
    to.launch<kNormRowsNarrow>(x, rows, layer.norm, narrow(memory.normed));
    std::uint16_t* const gate_up = narrow(memory.gate_up);
    if (layer.is_whole()) {
      matmul_.multiply(to, narrow(memory.normed), rows, whole(layer.gate_up), gate_up);
      to.launch<kGluNarrow>(gate_up, rows, columns, layer.activation, narrow(memory.active));
    } else {
      const std::int64_t values = rows * columns;  // as in ModelOps::feed_forward
      matmul_.multiply(to, narrow(memory.normed), rows, layer.gate(), gate_up);
      matmul_.multiply(to, narrow(memory.normed), rows, layer.up(), gate_up + values);
      to.launch<kGluNarrow>(gate_up, std::int64_t{1}, static_cast<int>(values), layer.activation,
                            narrow(memory.active));
    }
    matmul_.multiply(to, narrow(memory.active), rows, slice_inputs(layer.down, layer.columns), out,
                     output);
  }

  void add_sum(Stream& stream, std::vector<const float*> parts, std::int64_t values,
               float* out) override {
    with_list<const float*>(stream, parts, [&](const float* const* list, CudaStream& to) {
      to.launch<launch_add_sum>(list, std::ssize(parts), values, out);
    });
  }

  void rope_angles(Stream& stream, const RopeTable& rope, std::vector<std::int64_t> positions,
                   float* angles) override {
    if (positions.empty()) return;
    CudaStream& to = native(stream);
    const std::span<const double> frequencies = rope.frequencies();
    Descriptors& descriptors =
        descriptors_.take(Descriptors::room<std::int64_t>(std::ssize(positions)) +
                              Descriptors::room<double>(std::ssize(frequencies)),
                          to);
    const RopeAngles work{.positions = descriptors.add(std::span<const std::int64_t>(positions)),
                          .rows = std::ssize(positions),
                          .frequencies = descriptors.add(frequencies),
                          .half = static_cast<int>(frequencies.size()),
                          .turned = static_cast<int>(rope.turned()),
                          .scale = rope.scale(),
                          .out = angles};
    descriptors_.enqueue(descriptors, to, [&] { to.launch<launch_rope_angles>(work); });
  }

  void rope_and_store(Stream& stream, const QkvRows& rows, float* q_out,
                      std::vector<KvTarget> targets) override {
    expects(rows.heads.head_dim % 2 == 0 && rows.heads.head_dim <= kMostHeadDim,
            "heads have pairs of dimensions, 256 dimensions at most");
    CudaStream& to = native(stream);
    std::erase_if(targets, [](const KvTarget& target) { return target.rows == 0; });
    std::size_t room = Descriptors::room<KvTarget>(std::ssize(targets));
    std::int64_t most_rows = 0;
    for (const KvTarget& target : targets) {
      expects(!has_scales(target.to.type), "rows are not stored into int8");
      room += Descriptors::room<std::int32_t>(std::ssize(pages_of(target)));
      most_rows = std::max(most_rows, target.rows);
    }
    Descriptors& descriptors = descriptors_.take(room, to);
    for (KvTarget& target : targets) {
      if (!target.to.table) continue;
      target.to.table = descriptors.add(pages_of(target));
      target.column0 %= target.to.page_tokens;  // the table now begins at its page
    }
    const KvTarget* there = descriptors.add(std::span<const KvTarget>(targets));
    descriptors_.enqueue(descriptors, to, [&] {
      to.launch<launch_turn_and_store>(rows, q_out, there, std::ssize(targets), most_rows);
    });
  }

  void glu(Stream& stream, const float* gate_up, std::int64_t rows, int ffn, Activation activation,
           float* out) override {
    native(stream).launch<kGlu>(gate_up, rows, ffn, activation, out);
  }

  void clear(Stream& stream, float* out, std::int64_t values) override {
    if (values == 0) return;
    native(stream).launch<launch_clear>(out, values);
  }

  void gather_rows(Stream& stream, const float* x, int width, std::vector<std::int64_t> rows,
                   float* out) override {
    with_list<std::int64_t>(stream, rows, [&](const std::int64_t* list, CudaStream& to) {
      to.launch<launch_gather_rows>(x, width, list, std::ssize(rows), out);
    });
  }

 private:
  CudaStream& native(Stream& stream) {
    current(device_);
    return as_cuda(stream);
  }

  /// Whether rows of so many values can be kept as what products multiply: end to end, each where
  /// eight values can be read at once.
  bool narrows(int width) const { return precision_ == Precision::kBFloat16 && width % 8 == 0; }
  static std::uint16_t* narrow(float* memory) { return reinterpret_cast<std::uint16_t*>(memory); }

  /// Calls launch(the list on the GPU, the stream), unless the list is empty.
  template <typename T, typename Launch>
  void with_list(Stream& stream, std::span<const T> list, const Launch& launch) {
    if (list.empty()) return;
    CudaStream& to = native(stream);
    Descriptors& descriptors = descriptors_.take(Descriptors::room<T>(std::ssize(list)), to);
    const T* const there = descriptors.add(list);
    descriptors_.enqueue(descriptors, to, [&] { launch(there, to); });
  }

  CudaDevice& device_;
  Precision precision_;
  bool summarises_;
  DescriptorPool descriptors_;
  CudaMatmul matmul_;
};

}  // namespace

std::unique_ptr<ModelOps> make_cuda_model_ops(Device& device, Precision precision,
                                              const char* scores) {
  return std::make_unique<CudaModelOps>(device, precision, scores_on_gpu(scores));
}

}  // namespace longspan
