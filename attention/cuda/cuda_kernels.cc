#include "attention/cuda/cuda_kernels.h"

#include <cuda_runtime_api.h>

#include <utility>

#include "attention/cuda/cuda_copy_calls.h"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

/// Launches go to streams of the current device only.
void make_current(const CudaDevice& device) {
  cuda_check(cudaSetDevice(device.ordinal()), str("GPU {}", device.ordinal()));
}

/// The device, made current.
CudaDevice& current(Device& device) {
  auto* cuda = dynamic_cast<CudaDevice*>(&device);
  expects(cuda != nullptr, "CUDA kernels run on a CUDA device");
  make_current(*cuda);
  return *cuda;
}

const HeadShape& supported(const HeadShape& shape) {
  expects_supported(shape);
  return shape;
}

}  // namespace

CudaAttentionKernels::CudaAttentionKernels(Device& device, const HeadShape& shape, float scale,
                                           const KernelChoice& choice)
    : CudaAttentionKernels(std::make_shared<CudaCallMemory>(current(device)), shape, scale,
                           choice) {}

CudaAttentionKernels::CudaAttentionKernels(std::shared_ptr<CudaCallMemory> memory,
                                           const HeadShape& shape, float scale,
                                           const KernelChoice& choice)
    : memory_(std::move(memory)),
      shape_(supported(shape)),
      scale_(scale),
      choice_(choice),
      prefill_(*memory_, shape, scale, choice),
      decode_(*memory_, shape, scale, choice.mma_decode) {}

std::string_view CudaAttentionKernels::isa() const {
  switch (prefill_.kernel()) {
    case PrefillKernel::kReference:
      return "cuda reference";
    case PrefillKernel::kMma:
      return "cuda mma";
    case PrefillKernel::kSm90:
      return "cuda sm90";
  }
  return {};
}

std::int64_t CudaAttentionKernels::bad_lse_total() const {
  make_current(memory_->device);
  return decode_.bad_lse_total();
}

std::unique_ptr<AttentionKernels> CudaAttentionKernels::for_heads(const HeadShape& shape) const {
  make_current(memory_->device);
  return std::make_unique<CudaAttentionKernels>(memory_, shape, scale_, choice_);
}

KvType CudaAttentionKernels::new_columns(KvType pages) const {
  return prefill_.rounds_keys() && pages == KvType::kBFloat16 ? KvType::kBFloat16
                                                              : KvType::kFloat32;
}

CudaStream& CudaAttentionKernels::native(Stream& stream) const {
  make_current(memory_->device);
  return as_cuda(stream);
}

void CudaAttentionKernels::reset(Stream& stream, RunningState state, std::int64_t rows) {
  prefill_.reset(state, rows, native(stream));
}

void CudaAttentionKernels::attend(Stream& stream, const QueryRows& rows,
                                  std::vector<KvSegment> segments, RunningState state) {
  prefill_.attend(rows, std::move(segments), state, native(stream));
}

void CudaAttentionKernels::attend_whole(Stream& stream, const QueryRows& rows,
                                        std::vector<ArrivingSegments> sources, RunningState state,
                                        bool beside_kernels) {
  if (!prefill_.takes_whole(sources, beside_kernels)) {
    return AttentionKernels::attend_whole(stream, rows, std::move(sources), state, beside_kernels);
  }
  prefill_.attend_whole(rows, std::move(sources), state, native(stream));
}

void CudaAttentionKernels::finish(Stream& stream, RunningState state, Partial out,
                                  std::int64_t rows) {
  prefill_.finish(state, out, rows, native(stream));
}

void CudaAttentionKernels::decode(Stream& stream, std::vector<DecodeRow> rows) {
  decode_.decode(std::move(rows), native(stream));
}

void CudaAttentionKernels::merge(Stream& stream, std::vector<Partial> partials, Partial out,
                                 std::int64_t rows) {
  decode_.merge(partials, out, rows, native(stream));
}

void CudaAttentionKernels::copy_kv(Stream& stream, std::vector<KvCopy> copies) {
  copy_columns(std::move(copies), shape_, *memory_, native(stream));
}

std::unique_ptr<AttentionKernels> new_chosen_cuda_kernels(Device& device, const HeadShape& shape,
                                                          float scale, const char* word,
                                                          Precision precision) {
  current(device);  // whose kind is asked for
  return std::make_unique<CudaAttentionKernels>(device, shape, scale,
                                                choose_kernel(word, precision));
}

}  // namespace longspan
