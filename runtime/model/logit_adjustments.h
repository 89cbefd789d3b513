// What a request changes about logits before a token is chosen: bias, penalties for what was
// already said, and no end before its time.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/model/sampling.h"

namespace longspan {

/// `history`: of the sequence so far, looked at if sampling.looks_back(). `written`: tokens of the
/// answer so far. Ids lie inside the vocabulary.
void adjust_logits(std::span<float> logits, const Sampling& sampling, const TokenCounts& history,
                   std::int64_t written);

}  // namespace longspan
