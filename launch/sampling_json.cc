#include "launch/sampling_json.h"

#include "comm/str.h"

namespace longspan {

nlohmann::ordered_json sampling_json(const Sampling& sampling) {
  auto bias = nlohmann::ordered_json::object();
  for (const TokenBias& one : sampling.bias) bias[str("{}", one.id)] = one.bias;
  return {{"temperature", sampling.temperature},
          {"top_k", sampling.top_k},
          {"top_p", sampling.top_p},
          {"min_p", sampling.min_p},
          {"repetition_penalty", sampling.repetition_penalty},
          {"presence_penalty", sampling.presence_penalty},
          {"frequency_penalty", sampling.frequency_penalty},
          {"logit_bias", bias},
          {"min_tokens", sampling.min_tokens},
          {"stop_ids", sampling.stops}};
}

}  // namespace longspan
