#include "comm/cuda/stream_words.h"

#include <cudaTypedefs.h>

#include "comm/cuda/cuda_check.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

// Found in the driver at run time: the program starts without one.
template <typename Function>
Function find_in_driver(const char* name) {
  constexpr unsigned kSinceVersion = 11070;
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  cuda_check(
      cudaGetDriverEntryPointByVersion(name, &found, kSinceVersion, cudaEnableDefault, &result),
      str("looking for {} in the driver", name));
  if (result != cudaDriverEntryPointSuccess) {
    throw DeviceError(str("this driver has no {}: it must be of CUDA 11.7 or newer", name));
  }
  return reinterpret_cast<Function>(found);
}

void check(CUresult code, const char* attempt) {
  if (code != CUDA_SUCCESS) {
    throw DeviceError(str("{}: the driver's error {}", attempt, static_cast<int>(code)));
  }
}

CUdeviceptr address(const std::uint64_t* word) { return reinterpret_cast<CUdeviceptr>(word); }

}  // namespace

void write_word(cudaStream_t stream, std::uint64_t* word, std::uint64_t value) {
  static const auto write = find_in_driver<PFN_cuStreamWriteValue64_v11070>("cuStreamWriteValue64");
  check(write(stream, address(word), value, CU_STREAM_WRITE_VALUE_DEFAULT),
        "writing a word from a stream");
}

void wait_for_word(cudaStream_t stream, const std::uint64_t* word, std::uint64_t least) {
  static const auto wait = find_in_driver<PFN_cuStreamWaitValue64_v11070>("cuStreamWaitValue64");
  check(wait(stream, address(word), least, CU_STREAM_WAIT_VALUE_GEQ),
        "waiting for a word on a stream");
}

}  // namespace longspan
