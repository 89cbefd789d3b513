// A safetensors file of any content opens or is refused with a DataError; the tensors of one that
// opens lie inside it, one behind the other. The input's first byte says what the rest is: a whole
// file, or a header that gets its length in front and some data behind.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "comm/error.h"
#include "runtime/model/safetensors.h"
#include "tests/fuzz/require.h"
#include "tests/fuzz/scratch_file.h"

namespace longspan {
namespace {

/// `input`: a byte of flags, a byte of how much data (times 2^flags), a header.
std::vector<std::uint8_t> file_of(std::span<const std::uint8_t> input) {
  const std::uint8_t flags = input[0];
  if (flags & 0x80 || input.size() < 2) return {input.begin() + 1, input.end()};
  const std::size_t data = std::size_t{input[1]} << (flags & 7);
  const std::span<const std::uint8_t> header = input.subspan(2);
  const std::uint64_t length = header.size();
  std::vector<std::uint8_t> file(sizeof(length));
  std::memcpy(file.data(), &length, sizeof(length));
  file.insert(file.end(), header.begin(), header.end());
  file.resize(file.size() + data);
  return file;
}

void check(const SafetensorsFile& file) {
  std::uint64_t end = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    std::int64_t values = 1;
    for (const std::int64_t size : tensor.shape) values *= size;
    test::require(tensor.bytes == byte_size(tensor.type, values), "bytes that are not the shape's");
    test::require(tensor.offset >= end, "tensors that overlap");
    end = tensor.offset + tensor.bytes;
  }
  test::require(end <= file.file().bytes(), "a tensor beyond the file");
}

}  // namespace
}  // namespace longspan

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto path = longspan::test::scratch_file(longspan::file_of({data, size}));
  try {
    longspan::check(longspan::SafetensorsFile(path));
  } catch (const longspan::DataError&) {
  }
  return 0;
}
