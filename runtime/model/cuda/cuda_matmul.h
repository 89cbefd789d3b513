// Matrix products on a GPU: by cuBLASLt, whose choice of a kernel is kept for each shape.
//
//   x float32 --> bfloat16 --\                         sums in float32, no TF32,
//                             cuBLASLt --> out float32  no sums whose order is a matter of luck
//   w bfloat16 --------------/
//
// In float32 x is multiplied as it is. What lies between two products may be bfloat16 as well.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>

#include "attention/cuda/shared_scratch.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/cuda_stream.h"
#include "runtime/model/cuda/cublaslt.h"
#include "runtime/model/cuda/cuda_matrix_layout.h"
#include "runtime/model/cuda/matrix_kernels.h"
#include "runtime/model/ops.h"

namespace longspan {

class CudaMatmul {
 public:
  /// Allocates what products need while they run. Borrows the device, which must be the current
  /// one. Throws DeviceError where cuBLASLt is missing.
  explicit CudaMatmul(CudaDevice& device);
  ~CudaMatmul();
  CudaMatmul(const CudaMatmul&) = delete;
  CudaMatmul& operator=(const CudaMatmul&) = delete;

  /// Enqueues out (rows, w.outputs.count) = x (rows, w.inputs.count) times the slice, or adds to
  /// it. Streams take turns.
  void multiply(CudaStream& stream, const float* x, std::int64_t rows, const MatrixSlice& w,
                float* out, Output output);

  /// The same of rows that are bfloat16 already, w.inputs.count values apart, into float32; or
  /// where `out` is bfloat16, which is overwritten.
  void multiply(CudaStream& stream, const std::uint16_t* x, std::int64_t rows, const MatrixSlice& w,
                float* out, Output output);
  void multiply(CudaStream& stream, const std::uint16_t* x, std::int64_t rows, const MatrixSlice& w,
                std::uint16_t* out);

  std::string version() const { return library_.version(); }

 private:
  struct Key;
  struct Plan;

  void multiply_narrow(CudaStream& stream, const std::uint16_t* x, std::int64_t rows,
                       const MatrixSlice& w, MatrixProduct product);
  void multiply(CudaStream& stream, const MatrixProduct& product, Bytes workspace);
  static void launch_planned(cublasLtHandle_t handle, const Plan* plan,
                             const MatrixProduct& product, std::byte* workspace,
                             cudaStream_t stream);
  /// Null where cuBLASLt has no kernel for it.
  const Plan* plan(const MatrixProduct& product);
  std::unique_ptr<Plan> new_plan(const MatrixProduct& product) const;

  const CublasLt& library_;
  cublasLtHandle_t handle_ = nullptr;
  SharedScratch scratch_;  // its turn guards the plans, too
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace longspan
