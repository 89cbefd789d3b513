// Random numbers without a state: Philox4x32-10, the counter-based generator of Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
//
// A number is a function of a key and a counter. So what is drawn for a token depends on where the
// token stands and on nothing that happened before: not on the rank that draws, not on how many
// requests run, and a request that starts again in the middle draws the same.
#pragma once

#include <array>
#include <cstdint>

namespace longspan {

std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter,
                                           std::array<std::uint32_t, 2> key);

/// In [0, 1), a multiple of 2^-53: of the token at `position` of the `choice`-th answer.
double uniform_number(std::int64_t seed, std::uint32_t choice, std::int64_t position);

}  // namespace longspan
