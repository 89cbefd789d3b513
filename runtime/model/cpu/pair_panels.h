// Weight matrices in bfloat16, and products by them on machines that have no instructions for it.
//
// Outputs lie in panels of 64; in a panel, inputs follow each other in pairs:
//
//   panel 0:  w[0][0] w[0][1]  w[1][0] w[1][1]  ...  w[63][0] w[63][1]     w[output][input]
//             w[0][2] w[0][3]  ...
//
// which is what instructions for bfloat16 multiply by, and what any vector unit widens for nothing:
// the first of a pair is 32 bits shifted up, the second 32 bits with the lower half cleared.
#pragma once

#include <cstdint>

namespace longspan {

inline constexpr int kPanelOutputs = 64;
/// Inputs are padded with zeros to a multiple of this, outputs to whole panels.
inline constexpr int kPanelInputs = 32;

constexpr std::int64_t padded_inputs(std::int64_t inputs) {
  return (inputs + kPanelInputs - 1) / kPanelInputs * kPanelInputs;
}

/// Values of a panel.
constexpr std::int64_t panel_values(std::int64_t inputs) {
  return padded_inputs(inputs) * kPanelOutputs;
}

/// `rows` <= kPanelOutputs outputs (rows, inputs) become a panel.
void pack_panel(const float* w, int rows, std::int64_t inputs, std::uint16_t* panel);

/// Columns [first, first + count) of the transposed matrix, widened: out (inputs, count). `first`
/// is that of a panel, `inputs` a multiple of 2 or all; on the calling thread's OpenMP team.
void widen_panels(const std::uint16_t* panels, std::int64_t inputs, std::int64_t count, float* out);

/// out (rows, outputs) = x (rows, inputs) times the panels, or is added to; rows of out lie
/// `out_stride` apart. At the speed the panels can be read for up to kFewRows rows; on the calling
/// thread's OpenMP team. A row's sums run over the inputs in order.
void multiply_panels(const float* x, std::int64_t rows, const std::uint16_t* panels,
                     std::int64_t inputs, std::int64_t outputs, std::int64_t out_stride, float* out,
                     bool accumulate);

}  // namespace longspan
