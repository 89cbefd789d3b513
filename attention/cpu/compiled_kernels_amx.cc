// AVX-512, and matrix products by AMX.
//
// In assembly, since the compiler's own functions take the number of a tile as a literal only.
#include "attention/cpu/compiled_kernels.h"
#include "attention/cpu/head_kernel.inl"
#include "attention/cpu/lane_kernel.inl"
#include "attention/cpu/matrix_kernel.inl"
#include "attention/cpu/narrow_values.inl"

namespace longspan {
namespace {

/// What `ldtilecfg` reads.
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

struct AmxUnit {
  static void start() {
    TileConfiguration configuration;
    for (int tile = 0; tile < 8; ++tile) {
      configuration.row_bytes[tile] = kTileBytes;
      configuration.rows[tile] = kTileRows;
    }
    asm volatile("ldtilecfg %0" : : "m"(configuration));
  }
  static void stop() { asm volatile("tilerelease"); }

  template <int kTile>
  [[gnu::always_inline]] static void load(const void* from, long stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  [[gnu::always_inline]] static void store(void* to, long stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  [[gnu::always_inline]] static void clear_sums() {
    asm volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3");
  }
  /// sums += left * right, of bfloat16 pairs.
  template <int kSums, int kLeft, int kRight>
  [[gnu::always_inline]] static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kLeft), "i"(kRight));
  }
};

constexpr MatrixKernels kMatrix = matrix_kernels<AmxUnit>();

}  // namespace

extern const CompiledKernels kAmxKernels{"amx",
                                         16,
                                         attend_lanes<16>,
                                         attend_heads<16, float>,
                                         attend_heads<16, std::uint16_t>,
                                         {widen_float16, narrow_float16},
                                         {widen_bfloat16, narrow_bfloat16},
                                         {widen_int8_by, narrow_bfloat16_to_int8},
                                         &kMatrix};

}  // namespace longspan
