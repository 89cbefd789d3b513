// The loops over one row that are worth vectorising, at the widest instruction set of the machine.
#pragma once

#include <cstdint>
#include <span>

namespace longspan {

/// out = x / sqrt(mean(x^2) + epsilon) * weight. `out` may be `x`.
void rms_norm_row(const float* x, const float* weight, std::int64_t hidden, float epsilon,
                  float* out);
/// out = gate / (1 + exp(-gate)) * up.
void swiglu_row(const float* gate, const float* up, std::int64_t width, float* out);
/// out = gelu(gate) * up, with gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
void geglu_row(const float* gate, const float* up, std::int64_t width, float* out);
/// One head of 2 * half values in half-split form.
void rotate_head(const float* x, const float* cosines, const float* sines, std::int64_t half,
                 float* out);

/// out += parts[0] + parts[1] + ..., value by value, in this order.
void add_sum(std::span<const float* const> parts, std::int64_t values, float* out);

/// To bfloat16, to the nearest, ties to even; a NaN stays one.
void narrow_row(const float* x, std::int64_t width, std::uint16_t* out);
/// What narrow_row() gives, as float32.
void round_row(const float* x, std::int64_t width, float* out);
/// from[0], from[2], ..., `width` of them, from bfloat16. Nothing behind the last is read.
void widen_every_second(const std::uint16_t* from, std::int64_t width, float* out);

/// -inf for no values; NaNs are passed over.
float largest(const float* x, std::int64_t count);
/// Sum of exp(x - offset), each within 2e-7 (relative) down to exp(-87). A NaN makes it NaN, and so
/// does an infinite offset that occurs in x.
double exp_sum(const float* x, std::int64_t count, float offset);
/// Whether no value is NaN or infinite.
bool all_finite(const float* x, std::int64_t count);

}  // namespace longspan
