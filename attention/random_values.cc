#include "attention/random_values.h"

#include <algorithm>
#include <cstddef>
#include <random>
#include <vector>

namespace longspan {

Buffer random_values(Device& device, Stream& stream, std::int64_t count, std::uint32_t seed,
                     KvType type) {
  std::minstd_rand random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  std::ranges::generate(values, [&] { return uniform(random); });
  std::vector<std::byte> source(count * value_bytes(type));
  narrow(type, values.data(), count, source.data());
  Buffer buffer = device.allocate(source.size());
  device.copy(stream, buffer.bytes(), source);
  stream.synchronize();
  return buffer;
}

}  // namespace longspan
