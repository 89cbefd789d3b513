#include "runtime/model/dummy_weights.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "runtime/model/cpu/vector_kernels.h"

namespace longspan {
namespace {

/// Random bfloat16 numbers; two of them, read as float32, are another one. They repeat after so
/// many, odd, so that rows of a matrix differ.
std::vector<std::uint16_t> random_numbers(std::size_t most) {
  constexpr std::size_t kPeriod = (std::size_t{1} << 22) - 1;
  std::mt19937 engine(1);
  std::uniform_real_distribution<float> uniform(-0.03f, 0.03f);
  std::vector<float> values(std::min(kPeriod, most));
  for (float& value : values) value = uniform(engine);
  std::vector<std::uint16_t> numbers(values.size());
  narrow_row(values.data(), std::ssize(values), numbers.data());
  return numbers;
}

/// Copies `source` over and over: first to the device, then what is there, twice as much each time.
void repeat(Device& device, Stream& stream, ConstBytes source, Bytes block) {
  std::size_t done = std::min(source.size(), block.size());
  device.copy(stream, block.first(done), source.first(done));
  while (done < block.size()) {
    const std::size_t more = std::min(done, block.size() - done);
    device.copy(stream, block.subspan(done, more), block.first(more));
    done += more;
  }
}

}  // namespace

void fill_with_dummies(Device& device, const ModelConfig& config, const WeightPlan& plan,
                       Bytes block) {
  const std::unique_ptr<Stream> stream = device.new_stream();
  const std::vector<std::uint16_t> numbers = random_numbers(block.size() / sizeof(std::uint16_t));
  repeat(device, *stream, std::as_bytes(std::span(numbers)), block);

  const std::vector<float> ones(std::max(config.hidden, config.heads.head_dim), 1.0f);
  const auto set_norm = [&](std::optional<std::size_t> offset, int width) {
    if (!offset) return;
    const ConstBytes values = std::as_bytes(std::span(ones).first(width));
    device.copy(*stream, block.subspan(*offset, values.size()), values);
  };
  for (int i = 0; i < config.layers; ++i) {
    const WeightPlan::Layer& at = plan.layer(i);
    for (const auto& norm : {std::optional(at.attention_norm), std::optional(at.ffn_norm),
                             at.attention_post_norm, at.ffn_post_norm}) {
      set_norm(norm, config.hidden);
    }
    set_norm(at.query_norm, config.heads.head_dim);
    set_norm(at.key_norm, config.heads.head_dim);
  }
  set_norm(plan.output_norm(), config.hidden);
  stream->synchronize();
}

}  // namespace longspan
