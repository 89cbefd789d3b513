// Reproducible random floats.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace longspan::test {

inline std::vector<float> random_values(std::size_t count, std::uint32_t seed, float low = -1,
                                        float high = 1) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(engine);
  return values;
}

}  // namespace longspan::test
