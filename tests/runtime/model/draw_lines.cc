// Our side of tests/oracles/sampling_oracle.py: a line of JSON in, logits and what a request asks
// for; a line out, [[id, probability], ...] of the tokens that may be drawn, in order of id.
//
// Probabilities are found from outside: a token's part of [0, 1) ends where draw() begins to give
// another one.
#include <cmath>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "runtime/model/draw.h"
#include "runtime/model/logit_adjustments.h"
#include "runtime/model/sampler.h"

namespace longspan {
namespace {

using nlohmann::json;

/// JSON has no infinity.
std::vector<float> logits_of(const json& list) {
  std::vector<float> logits;
  for (const json& logit : list) {
    logits.push_back(logit.is_null() ? -std::numeric_limits<float>::infinity()
                                     : logit.get<float>());
  }
  return logits;
}

Sampling sampling_of(const json& asked) {
  Sampling sampling{.temperature = asked.at("temperature"),
                    .top_k = asked.at("top_k"),
                    .top_p = asked.at("top_p"),
                    .min_p = asked.at("min_p"),
                    .repetition_penalty = asked.at("repetition_penalty"),
                    .presence_penalty = asked.at("presence_penalty"),
                    .frequency_penalty = asked.at("frequency_penalty"),
                    .min_tokens = asked.at("min_tokens"),
                    .stops = asked.at("stops")};
  for (const json& one : asked.at("bias")) sampling.bias.push_back({one.at(0), one.at(1)});
  return sampling;
}

TokenCounts counts_of(const std::vector<TokenId>& prompt, const std::vector<TokenId>& written) {
  TokenCounts counts;
  for (TokenId id : prompt) counts[id];
  for (TokenId id : written) ++counts[id];
  return counts;
}

/// The largest number, to within its last bits, that draws the token which `from` draws.
double end_of_part(std::span<const float> logits, const Sampling& sampling, double from) {
  const TokenId id = draw(logits, sampling, from).id;
  const auto same = [&](double number) { return draw(logits, sampling, number).id == id; };
  double inside = from, outside = 1;
  if (same(std::nextafter(1.0, 0.0))) return 1;
  for (int step = 0; step < 60 && inside < outside; ++step) {
    const double middle = inside + (outside - inside) / 2;
    (same(middle) ? inside : outside) = middle;
  }
  return outside;
}

json chances(std::span<const float> logits, const Sampling& sampling) {
  json list = json::array();
  for (double begin = 0; begin < 1;) {
    const double end = end_of_part(logits, sampling, begin);
    list.push_back({draw(logits, sampling, begin).id, end - begin});
    begin = end;
  }
  return list;
}

json answer(const json& asked) {
  std::vector<float> logits = logits_of(asked.at("logits"));
  const Sampling sampling = sampling_of(asked);
  const std::vector<TokenId> written = asked.at("written");
  const TokenCounts counts = counts_of(asked.at("prompt"), written);
  if (!sampling.draws()) {
    const Scored best = sample(logits, 0, sampling, counts, std::ssize(written), 0);
    return {{best.chosen.id, 1.0}};
  }
  adjust_logits(logits, sampling, counts, std::ssize(written));
  return chances(logits, sampling);
}

}  // namespace
}  // namespace longspan

int main() {
  try {
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << longspan::answer(nlohmann::json::parse(line)).dump() << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
