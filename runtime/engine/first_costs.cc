#include "runtime/engine/first_costs.h"

#include <algorithm>

namespace longspan {
namespace {

constexpr std::int64_t kManyRows = 512;
constexpr double kLeastTerm = 1e-15;          // seconds: no term of a guess is 0
constexpr double kMostBytesPerSecond = 1e13;  // a rate that nobody measured is infinite

/// Of the products of one token with the weights of all layers.
double product_flops(const ModelConfig& config) {
  const double hidden = config.hidden, layers = config.layers;
  const double width = 2.0 * config.q_width() + 2.0 * config.kv_width() + 3.0 * config.ffn;
  return 2 * layers * hidden * width;
}

/// Of one token's attention to one key.
double pair_flops(const ModelConfig& config) { return 4.0 * config.layers * config.q_width(); }

}  // namespace

StepCosts first_costs(const ModelConfig& config, std::int64_t weight_bytes, int degree,
                      const MachineRates& rates) {
  const double flops = rates.attention_flops_per_second(kManyRows);
  const double bytes = std::min(rates.copy_bytes_per_second, kMostBytesPerSecond);
  const double of_pair = pair_flops(config) / flops / degree;
  const double of_token = product_flops(config) / flops;
  const auto kv_bytes = static_cast<double>(config.kv_bytes_per_token());
  StepCosts costs{.prefill = {.a = static_cast<double>(weight_bytes) / bytes +
                                   config.layers * rates.launch_seconds,
                              .b = of_token / degree,
                              .c = of_pair,
                              .d = of_pair / 2},
                  .h = of_token,
                  .g = kv_bytes / bytes};
  for (double* term : {&costs.prefill.a, &costs.prefill.b, &costs.prefill.c, &costs.prefill.d,
                       &costs.h, &costs.g}) {
    *term = std::max(*term, kLeastTerm);
  }
  return costs;
}

}  // namespace longspan
