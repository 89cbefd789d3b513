// How long a chunk of prefill takes on one degree, and how many tokens fit into a time.
//
//   T = a + b sum(L) + c sum(C L) + d sum(L^2)      L: new tokens of each chunk of the step,
//                                                   C: tokens whose keys it already has
//
// A token costs its products (b) and, for each key that it sees, attention. A chunk's own tokens
// see half of each other, so c is about 2 d: then a prompt costs the same however it is cut, but
// for `a` a chunk (LoongServe, arXiv 2404.09526, section 5.1, has C = 0; Tetris' form has the
// rest).
#pragma once

#include <cstdint>
#include <span>

namespace longspan {

/// A chunk of one request: `count` new tokens after `cached` ones.
struct ChunkSize {
  std::int64_t cached = 0;
  std::int64_t count = 0;
};

struct PrefillCost {
  double a = 0;  // seconds a step
  double b = 0;  // a token
  double c = 0;  // a token and each key before its chunk
  double d = 0;  // a token and each of its chunk

  /// Of a step with these chunks; 0 without any.
  double seconds(std::span<const ChunkSize> chunks) const;
  double seconds(const ChunkSize& chunk) const { return seconds(std::span(&chunk, 1)); }
  /// Of all tokens of `whole`, in steps of `chunk` of them and one of what is left. chunk >= 1.
  double seconds_in_chunks(const ChunkSize& whole, std::int64_t chunk) const;
  /// The most tokens after `cached` ones that take at most `seconds`; 0 when none do. The costs are
  /// not all 0.
  std::int64_t most_tokens(std::int64_t cached, double seconds) const;
};

/// A step that was timed.
struct TimedPrefill {
  double sum_l = 0;
  double sum_cl = 0;
  double sum_l2 = 0;
  double seconds = 0;  // above 0
};

TimedPrefill timed(std::span<const ChunkSize> chunks, double seconds);

/// The costs, none below 0, that miss the times least, by the sum of squares of relative errors.
/// Zeros for no samples; what the samples do not tell apart goes to the first of a, b, c, d.
PrefillCost fit_prefill_cost(std::span<const TimedPrefill> samples);

}  // namespace longspan
