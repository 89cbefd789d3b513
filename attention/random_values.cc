#include "attention/random_values.h"

#include <algorithm>
#include <cstddef>
#include <random>
#include <span>
#include <vector>

namespace longspan {

void fill_randomly(Device& device, Stream& stream, Bytes memory, std::uint32_t seed, KvType type) {
  constexpr std::size_t kPeriod = (1 << 18) + 3;  // odd, so that rows of a matrix differ
  std::minstd_rand random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(std::min(kPeriod, memory.size() / value_bytes(type)));
  std::ranges::generate(values, [&] { return uniform(random); });
  std::vector<std::byte> source(values.size() * value_bytes(type));
  narrow(type, values.data(), std::ssize(values), source.data());
  for (std::size_t at = 0; at < memory.size(); at += source.size()) {
    const std::size_t bytes = std::min(source.size(), memory.size() - at);
    device.copy(stream, memory.subspan(at, bytes), std::span(source).first(bytes));
  }
  stream.synchronize();
}

Buffer random_values(Device& device, Stream& stream, std::int64_t count, std::uint32_t seed,
                     KvType type) {
  Buffer buffer = device.allocate(count * value_bytes(type));
  fill_randomly(device, stream, buffer.bytes(), seed, type);
  return buffer;
}

}  // namespace longspan
