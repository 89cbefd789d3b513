#include "runtime/model/cpu/vector_kernels.h"

#include <bit>
#include <cmath>
#include <limits>

#include "runtime/model/cpu/vectorise.h"

namespace longspan {
namespace {

// exp(x) = 2^n * exp(r) with |r| <= ln(2)/2, exp(r) by its Taylor polynomial of degree 7, whose
// error there, r^8/8!, is 5e-9. Without branches or calls, so that loops over it vectorise.
[[gnu::always_inline]] inline float fast_exp(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;  // few bits, so that n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -87.0f ? -87.0f : x;           // 2^n must stay a normal number
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // The low bits of `shifted` are n in two's complement; moved into the exponent they are 2^n.
  const std::int32_t bits = (std::bit_cast<std::int32_t>(shifted) + 127) << 23;
  return p * std::bit_cast<float>(bits);
}

/// In the upper half; what the lower half holds is of no meaning.
[[gnu::always_inline]] inline std::uint32_t rounded_bits(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;  // rounding could make it an infinity
  return is_nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
}

}  // namespace

void narrow_row(const float* x, std::int64_t width, std::uint16_t* out) {
  vectorised([=]() LONGSPAN_INLINE_BODY {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) {
      out[i] = static_cast<std::uint16_t>(rounded_bits(x[i]) >> 16);
    }
  });
}

void round_row(const float* x, std::int64_t width, float* out) {
  vectorised([=]() LONGSPAN_INLINE_BODY {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) {
      out[i] = std::bit_cast<float>(rounded_bits(x[i]) & 0xffff0000u);
    }
  });
}

void widen_every_second(const std::uint16_t* from, std::int64_t width, float* out) {
  vectorised([=]() LONGSPAN_INLINE_BODY {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) {
      out[i] = std::bit_cast<float>(std::uint32_t{from[2 * i]} << 16);
    }
  });
}

void rms_norm_row(const float* x, const float* weight, std::int64_t hidden, float epsilon,
                  float* out) {
  vectorised([=]() LONGSPAN_INLINE_BODY {
    double squares = 0;
#pragma omp simd reduction(+ : squares)
    for (std::int64_t i = 0; i < hidden; ++i) squares += static_cast<double>(x[i]) * x[i];
    const float scale = static_cast<float>(1.0 / std::sqrt(squares / hidden + epsilon));
#pragma omp simd
    for (std::int64_t i = 0; i < hidden; ++i) out[i] = x[i] * scale * weight[i];
  });
}

void swiglu_row(const float* gate, const float* up, std::int64_t width, float* out) {
  vectorised([=]() LONGSPAN_INLINE_BODY {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) {
      out[i] = gate[i] / (1.0f + fast_exp(-gate[i])) * up[i];
    }
  });
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)).
void geglu_row(const float* gate, const float* up, std::int64_t width, float* out) {
  constexpr float kTwiceSqrt2OverPi = 1.59576912160573071f;
  vectorised([=]() LONGSPAN_INLINE_BODY {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) {
      const float x = gate[i];
      const float u2 = kTwiceSqrt2OverPi * (x + 0.044715f * x * x * x);
      out[i] = x / (1.0f + fast_exp(-u2)) * up[i];
    }
  });
}

void rotate_head(const float* x, const float* cosines, const float* sines, std::int64_t half,
                 float* out) {
  vectorised([=]() LONGSPAN_INLINE_BODY {
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) {
      const float low = x[i], high = x[half + i];
      out[i] = low * cosines[i] - high * sines[i];
      out[half + i] = high * cosines[i] + low * sines[i];
    }
  });
}

void add_sum(std::span<const float* const> parts, std::int64_t values, float* out) {
  constexpr std::int64_t kAtOnce = 64;  // sums stay in registers
  if (parts.empty()) return;
  const float* const* list = parts.data();
  const std::size_t count = parts.size();
  vectorised([=]() LONGSPAN_INLINE_BODY {
    for (std::int64_t begin = 0; begin < values; begin += kAtOnce) {
      const std::int64_t width = values - begin < kAtOnce ? values - begin : kAtOnce;
      float sum[kAtOnce];
      for (std::int64_t i = 0; i < width; ++i) sum[i] = list[0][begin + i];
      for (std::size_t part = 1; part < count; ++part) {
        const float* more = list[part] + begin;
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) sum[i] += more[i];
      }
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) out[begin + i] += sum[i];
    }
  });
}

float largest(const float* x, std::int64_t count) {
  return vectorised([=]() LONGSPAN_INLINE_BODY {
    float best = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : best)
    for (std::int64_t i = 0; i < count; ++i) best = x[i] > best ? x[i] : best;
    return best;
  });
}

double exp_sum(const float* x, std::int64_t count, float offset) {
  return vectorised([=]() LONGSPAN_INLINE_BODY {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < count; ++i) sum += fast_exp(x[i] - offset);
    return sum;
  });
}

bool all_finite(const float* x, std::int64_t count) {
  return vectorised([=]() LONGSPAN_INLINE_BODY {
    constexpr std::uint32_t kExponent = 0x7f800000;
    std::uint32_t bad = 0;
#pragma omp simd reduction(+ : bad)
    for (std::int64_t i = 0; i < count; ++i) {
      bad += (std::bit_cast<std::uint32_t>(x[i]) & kExponent) == kExponent ? 1u : 0u;
    }
    return bad == 0;
  });
}

}  // namespace longspan
