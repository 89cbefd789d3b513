// The CUDA backend, for suites that any device must pass.
#pragma once

#include <cuda_runtime_api.h>

#include "comm/cuda/cuda_device.h"
#include "tests/comm/device_conformance.h"

namespace longspan::test {

inline Backend cuda_backend() {
  return {"Cuda",
          []() -> std::unique_ptr<Device> {
            if (cuda_device_count() == 0) return nullptr;
            return std::make_unique<CudaDevice>(0);
          },
          [](Bytes bytes, const std::vector<int>& values) {
            // From pageable memory this returns when the values are staged, not when they are
            // there; the streams of the tests do not wait for the default stream.
            EXPECT_EQ(cudaMemcpy(bytes.data(), values.data(), bytes.size(), cudaMemcpyDefault),
                      cudaSuccess);
            EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
          },
          [](ConstBytes bytes) {
            std::vector<int> values(bytes.size() / sizeof(int));
            EXPECT_EQ(cudaMemcpy(values.data(), bytes.data(), bytes.size(), cudaMemcpyDefault),
                      cudaSuccess);
            return values;
          }};
}

}  // namespace longspan::test
