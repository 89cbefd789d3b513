// From what a request says of sampling, and what is taken where it says nothing, to how its tokens
// are chosen.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/model/sampling.h"
#include "runtime/serving/openai_request.h"

namespace longspan {

struct SamplingDefaults {
  Sampling sampling;          // `stops` beside the ends of text; `seed` is not looked at
  std::vector<TokenId> ends;  // of text, sorted
  bool ignore_eos = false;
  std::vector<std::string> stop_texts;
};

/// Of the first of a request's answers to one prompt; the others differ in `choice`. `seed`: for a
/// request that draws and names none.
Sampling sampling_of(const RequestedSampling& asked, const SamplingDefaults& defaults,
                     std::int64_t seed);

}  // namespace longspan
