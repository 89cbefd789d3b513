// Our side of tests/oracles/dequantize_oracle.py: blocks of a type on standard input, float32
// values on standard output.
#include <array>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "runtime/model/gguf.h"

namespace longspan {
namespace {

constexpr std::array kTypes{
    TensorType::kF16,  TensorType::kBF16, TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0,
    TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K};

int run(const std::string& wanted) {
  for (const TensorType type : kTypes) {
    if (name(type) != wanted) continue;
    const std::string blocks{std::istreambuf_iterator(std::cin), {}};
    const auto count =
        static_cast<std::int64_t>(blocks.size() / byte_size(type, block_values(type)));
    std::vector<float> values(static_cast<std::size_t>(count * block_values(type)));
    dequantize(type, std::as_bytes(std::span(blocks)), values);
    const auto bytes = std::as_bytes(std::span(values));
    std::cout.write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    return 0;
  }
  std::cerr << "unknown type " << wanted << '\n';
  return 2;
}

}  // namespace
}  // namespace longspan

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: dequantize_blocks TYPE < blocks > values\n";
    return 2;
  }
  try {
    return longspan::run(argv[1]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
