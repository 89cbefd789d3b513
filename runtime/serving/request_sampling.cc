#include "runtime/serving/request_sampling.h"

#include <algorithm>

namespace longspan {

Sampling sampling_of(const RequestedSampling& asked, const SamplingDefaults& defaults,
                     std::int64_t seed) {
  const Sampling& usual = defaults.sampling;
  Sampling sampling{
      .temperature = asked.temperature.value_or(usual.temperature),
      .top_k = asked.top_k.value_or(usual.top_k),
      .top_p = asked.top_p.value_or(usual.top_p),
      .min_p = asked.min_p.value_or(usual.min_p),
      .repetition_penalty = asked.repetition_penalty.value_or(usual.repetition_penalty),
      .presence_penalty = asked.presence_penalty.value_or(usual.presence_penalty),
      .frequency_penalty = asked.frequency_penalty.value_or(usual.frequency_penalty),
      .bias = asked.bias.value_or(usual.bias),
      .min_tokens = asked.min_tokens.value_or(usual.min_tokens),
      .stops = asked.stop_ids.value_or(usual.stops)};
  if (!asked.ignore_eos.value_or(defaults.ignore_eos)) {
    sampling.stops.insert(sampling.stops.end(), defaults.ends.begin(), defaults.ends.end());
  }
  std::ranges::sort(sampling.stops);
  sampling.stops.erase(std::ranges::unique(sampling.stops).begin(), sampling.stops.end());
  if (sampling.draws()) sampling.seed = asked.seed.value_or(seed);
  return sampling;
}

}  // namespace longspan
