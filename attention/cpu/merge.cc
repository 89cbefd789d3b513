#include "attention/cpu/merge.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace longspan {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kMaxHeadDim = 256;

bool is_bad(float lse) { return std::isnan(lse) || lse == kInfinity; }
float sanitised(float lse) { return is_bad(lse) ? -kInfinity : lse; }

void write_empty(Partial out, std::int64_t at, int head_dim) {
  std::fill_n(out.o + at * head_dim, head_dim, 0.0f);
  out.lse[at] = -kInfinity;
}

void write_copy(const Partial& source, Partial out, std::int64_t at, int head_dim) {
  if (source.o != out.o) std::copy_n(source.o + at * head_dim, head_dim, out.o + at * head_dim);
  out.lse[at] = source.lse[at];
}

/// The mean of two or more sources weighted by exp(lse), `top` being the largest lse. Summed on the
/// side, since `out` may be one of them.
void write_mean(std::span<const Partial> sources, float top, Partial out, std::int64_t at,
                int head_dim) {
  std::array<float, kMaxHeadDim> sum{};
  float denominator = 0;
  for (const Partial& source : sources) {
    const float lse = sanitised(source.lse[at]);
    const float weight = lse == -kInfinity ? 0.0f : std::exp(lse - top);
    if (weight == 0.0f) continue;  // an empty source may hold NaN, and 0 * NaN is NaN
    denominator += weight;
    const float* o = source.o + at * head_dim;
#pragma omp simd
    for (int d = 0; d < head_dim; ++d) sum[d] += weight * o[d];
  }
  float* o = out.o + at * head_dim;
#pragma omp simd
  for (int d = 0; d < head_dim; ++d) o[d] = sum[d] / denominator;
  out.lse[at] = top + std::log(denominator);
}

}  // namespace

void normalise(const RunningState& state, Partial out, std::int64_t at, int head_dim) {
  const float l = state.l[at];
  if (l == 0.0f) return write_empty(out, at, head_dim);
  const float* acc = state.acc + at * head_dim;
  float* o = out.o + at * head_dim;
#pragma omp simd
  for (int d = 0; d < head_dim; ++d) o[d] = acc[d] / l;
  out.lse[at] = state.m[at] + std::log(l);
}

std::int64_t merge_at(std::span<const Partial> sources, Partial out, std::int64_t at,
                      int head_dim) {
  float top = -kInfinity;
  std::int64_t bad = 0;
  int filled = 0;
  const Partial* last_filled = nullptr;
  for (const Partial& source : sources) {
    const float lse = sanitised(source.lse[at]);
    bad += is_bad(source.lse[at]);
    top = std::max(top, lse);
    if (lse == -kInfinity) continue;
    ++filled;
    last_filled = &source;
  }
  if (filled == 0) {
    write_empty(out, at, head_dim);
  } else if (filled == 1) {  // arithmetic would give the same but for the sign of zeros
    write_copy(*last_filled, out, at, head_dim);
  } else {
    write_mean(sources, top, out, at, head_dim);
  }
  return bad;
}

}  // namespace longspan
