#include "runtime/model/cpu/pair_panels.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "runtime/model/cpu/vector_kernels.h"
#include "runtime/model/cpu/vectorise.h"

namespace longspan {
namespace {

constexpr int kWidth = 8;  // floats of a vector
typedef float Floats __attribute__((vector_size(32), may_alias));
typedef float Unaligned __attribute__((vector_size(32), may_alias, aligned(alignof(float))));
typedef std::uint32_t Words __attribute__((vector_size(32), may_alias));
/// What threads share out: models have matrices of few panels.
constexpr int kHalfPanel = kPanelOutputs / 2;
constexpr int kPairs = 2 * kPanelOutputs;  // values of a pair of inputs in a panel

/// How many values ahead a panel, and then the next one, is fetched: 4 KiB. The hardware by itself
/// does not look far enough to keep memory busy: two threads of a Xeon then read 18 GB/s of 28, and
/// 24 with this.
constexpr std::int64_t kAhead = 2048;

/// Sums of kRows rows and kVectors vectors of outputs, over all pairs.
template <int kRows, int kVectors>
[[gnu::always_inline]] inline void multiply_part(const float* x, std::int64_t inputs,
                                                 const std::uint16_t* panel, float* sums) {
  Floats sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = *reinterpret_cast<const Floats*>(sums + r * kPanelOutputs + v * kWidth);
    }
  }
  for (std::int64_t i = 0; i < inputs; i += 2, panel += kPairs) {
    for (int v = 0; v < kVectors; v += 2) __builtin_prefetch(panel + 2 * v * kWidth + kAhead);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Words pair = *reinterpret_cast<const Words*>(panel + 2 * v * kWidth);
      const Floats first = reinterpret_cast<Floats>(pair << 16);
      const Floats second = reinterpret_cast<Floats>(pair & 0xffff0000u);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        sum[r][v] += x[r * inputs + i] * first;
        sum[r][v] += x[r * inputs + i + 1] * second;
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      *reinterpret_cast<Floats*>(sums + r * kPanelOutputs + v * kWidth) = sum[r][v];
    }
  }
}

/// Outputs [begin, end) of a panel, of whole half panels. Eight sums at a time stay in registers:
/// of one row the whole width of a panel, of four a quarter.
template <int kRows>
[[gnu::always_inline]] inline void multiply_panel(const float* x, std::int64_t inputs,
                                                  const std::uint16_t* panel, int begin, int end,
                                                  float* sums) {
  constexpr int kVectors = kPanelOutputs / kWidth / kRows;
  constexpr int kHalf = kHalfPanel / kWidth;
  int part = begin;
  for (; part + kVectors * kWidth <= end; part += kVectors * kWidth) {
    multiply_part<kRows, kVectors>(x, inputs, panel + 2 * part, sums + part);
  }
  if constexpr (kVectors > kHalf) {
    if (part < end) multiply_part<kRows, kHalf>(x, inputs, panel + 2 * part, sums + part);
  }
}

/// x has an even number of inputs.
void multiply_rows(const float* x, std::int64_t rows, std::int64_t inputs,
                   const std::uint16_t* panel, int begin, int end, float* sums) {
  vectorised([=]() LONGSPAN_INLINE_BODY {
    std::int64_t row = 0;
    for (; row + 4 <= rows; row += 4) {
      multiply_panel<4>(x + row * inputs, inputs, panel, begin, end, sums + row * kPanelOutputs);
    }
    for (; row + 2 <= rows; row += 2) {
      multiply_panel<2>(x + row * inputs, inputs, panel, begin, end, sums + row * kPanelOutputs);
    }
    if (row < rows) {
      multiply_panel<1>(x + row * inputs, inputs, panel, begin, end, sums + row * kPanelOutputs);
    }
  });
}

}  // namespace

void pack_panel(const float* w, int rows, std::int64_t inputs, std::uint16_t* panel) {
  std::fill_n(panel, panel_values(inputs), std::uint16_t{0});
  std::vector<std::uint16_t> row(inputs);
  for (int output = 0; output < rows; ++output) {
    narrow_row(w + output * inputs, inputs, row.data());
    std::uint16_t* to = panel + 2 * output;
    for (std::int64_t i = 0; i < inputs; ++i) to[i / 2 * kPairs + i % 2] = row[i];
  }
}

void widen_panels(const std::uint16_t* panels, std::int64_t inputs, std::int64_t count,
                  float* out) {
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < inputs; ++i) {
    for (std::int64_t first = 0; first < count; first += kPanelOutputs) {
      const std::int64_t width = std::min<std::int64_t>(kPanelOutputs, count - first);
      const std::uint16_t* from =
          panels + first / kPanelOutputs * panel_values(inputs) + i / 2 * kPairs + i % 2;
      widen_every_second(from, width, out + i * count + first);
    }
  }
}

void multiply_panels(const float* x, std::int64_t rows, const std::uint16_t* panels,
                     std::int64_t inputs, std::int64_t outputs, std::int64_t out_stride, float* out,
                     bool accumulate) {
  constexpr std::int64_t kRowsAtOnce = 16;  // their sums: 4 KiB
  const std::int64_t even = (inputs + 1) / 2 * 2;
  std::vector<float> padded;
  if (even != inputs) {
    padded.assign(rows * even, 0.0f);
    for (std::int64_t row = 0; row < rows; ++row) {
      std::copy_n(x + row * inputs, inputs, padded.data() + row * even);
    }
    x = padded.data();
  }
  // Outputs [begin, end) of the panel that holds them.
  const auto multiply = [=](std::int64_t begin, std::int64_t end) {
    const std::int64_t panel = begin / kPanelOutputs, before = panel * kPanelOutputs;
    const std::int64_t width = std::min(end, outputs) - begin;
    for (std::int64_t first = 0; first < rows; first += kRowsAtOnce) {
      const std::int64_t some = std::min(kRowsAtOnce, rows - first);
      alignas(64) float sums[kRowsAtOnce * kPanelOutputs] = {};
      float* to = out + first * out_stride + begin;
      float* from = sums + begin - before;
      for (std::int64_t row = 0; accumulate && row < some; ++row) {
        std::copy_n(to + row * out_stride, width, from + row * kPanelOutputs);
      }
      multiply_rows(x + first * even, some, even, panels + panel * panel_values(inputs),
                    static_cast<int>(begin - before), static_cast<int>(end - before), sums);
      for (std::int64_t row = 0; row < some; ++row) {
        std::copy_n(from + row * kPanelOutputs, width, to + row * out_stride);
      }
    }
  };
  const std::int64_t halves = (outputs + kHalfPanel - 1) / kHalfPanel;
  const int threads = omp_get_max_threads();
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int thread = 0; thread < threads; ++thread) {
    const std::int64_t end = halves * (thread + 1) / threads * kHalfPanel;
    for (std::int64_t begin = halves * thread / threads * kHalfPanel; begin < end;) {
      const std::int64_t stop = std::min(end, (begin / kPanelOutputs + 1) * kPanelOutputs);
      multiply(begin, stop);
      begin = stop;
    }
  }
}

}  // namespace longspan
