#include "attention/cuda/tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <string>

#include "comm/cuda/driver_function.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

using Encode = PFN_cuTensorMapEncodeTiled_v12000;

constexpr std::int64_t kValueBytes = 2;
constexpr std::size_t kMostDimensions = 5;

Encode encode() {
  static const auto function = find_in_driver<Encode>("cuTensorMapEncodeTiled", 12000);
  return function;
}

std::string text(const void* memory, std::span<const TensorDimension> dimensions) {
  std::string all = str("at {}", memory);
  for (const TensorDimension& one : dimensions) {
    all += str(", {} (stride {}, box {})", one.size, one.stride, one.box);
  }
  return all;
}

}  // namespace

CUtensorMap tensor_map(const void* memory, std::span<const TensorDimension> dimensions) {
  const std::size_t rank = dimensions.size();
  expects(rank >= 3 && rank <= kMostDimensions, "a tensor has 3 to 5 dimensions");
  std::array<cuuint64_t, kMostDimensions> sizes{}, strides{};
  std::array<cuuint32_t, kMostDimensions> boxes{}, steps{};
  for (std::size_t i = 0; i < rank; ++i) {
    sizes[i] = static_cast<cuuint64_t>(dimensions[i].size);
    boxes[i] = static_cast<cuuint32_t>(dimensions[i].box);
    steps[i] = 1;
    if (i > 0) strides[i - 1] = static_cast<cuuint64_t>(dimensions[i].stride * kValueBytes);
  }
  CUtensorMap map{};
  const CUresult code =
      encode()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<cuuint32_t>(rank),
               const_cast<void*>(memory), sizes.data(), strides.data(), boxes.data(), steps.data(),
               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (code != CUDA_SUCCESS) {
    throw DeviceError(str("the driver makes no map of a tensor {}: error {}",
                          text(memory, dimensions), static_cast<int>(code)));
  }
  return map;
}

}  // namespace longspan
