#include "comm/cuda/stream_words.h"

#include <cudaTypedefs.h>

#include "comm/cuda/driver_function.h"

namespace longspan {
namespace {

CUdeviceptr address(const std::uint64_t* word) { return reinterpret_cast<CUdeviceptr>(word); }

}  // namespace

void write_word(cudaStream_t stream, std::uint64_t* word, std::uint64_t value) {
  static const auto write = find_in_driver<PFN_cuStreamWriteValue64_v11070>("cuStreamWriteValue64");
  driver_check(write(stream, address(word), value, CU_STREAM_WRITE_VALUE_DEFAULT),
               "writing a word from a stream");
}

void wait_for_word(cudaStream_t stream, const std::uint64_t* word, std::uint64_t least) {
  static const auto wait = find_in_driver<PFN_cuStreamWaitValue64_v11070>("cuStreamWaitValue64");
  driver_check(wait(stream, address(word), least, CU_STREAM_WAIT_VALUE_GEQ),
               "waiting for a word on a stream");
}

}  // namespace longspan
