// The matrix kernel's logic with a unit of plain loops: so that it is tested on machines without
// AMX too.
#include "attention/cpu/head_kernel.inl"
#include "attention/cpu/lane_kernel.inl"
#include "attention/cpu/matrix_kernel.inl"
#include "attention/cpu/narrow_values.inl"
#include "tests/attention/wide_lanes.h"

namespace longspan::test {
namespace {

/// Eight tiles of 16 rows of 64 bytes.
struct EmulatedUnit {
  struct Tile {
    unsigned char rows[kTileRows][kTileBytes];
  };
  inline static thread_local Tile tiles[8];
  inline static thread_local bool is_started = false;

  static void start() { is_started = true; }
  static void stop() { is_started = false; }

  template <int kTile>
  static void load(const void* from, long stride) {
    for (int row = 0; row < kTileRows; ++row) {
      __builtin_memcpy(tiles[kTile].rows[row], static_cast<const char*>(from) + row * stride,
                       kTileBytes);
    }
  }
  template <int kTile>
  static void store(void* to, long stride) {
    if (!is_started) __builtin_trap();
    for (int row = 0; row < kTileRows; ++row) {
      __builtin_memcpy(static_cast<char*>(to) + row * stride, tiles[kTile].rows[row], kTileBytes);
    }
  }
  static void clear_sums() { __builtin_memset(tiles, 0, 4 * sizeof(Tile)); }

  template <int kSums, int kLeft, int kRight>
  static void multiply() {
    constexpr int kDepthValues = kTileRows * kDepth;
    std::uint16_t narrow[2][kDepthValues];
    __builtin_memcpy(narrow[0], &tiles[kLeft], sizeof(Tile));
    __builtin_memcpy(narrow[1], &tiles[kRight], sizeof(Tile));
    float left[kDepthValues], right[kDepthValues], sums[kTileRows * kVectorLanes];
    widen_bfloat16(narrow[0], kDepthValues, left);
    widen_bfloat16(narrow[1], kDepthValues, right);
    __builtin_memcpy(sums, &tiles[kSums], sizeof(Tile));
    for (int row = 0; row < kTileRows; ++row) {
      for (int pair = 0; pair < kTileRows; ++pair) {
        const float even = left[row * kDepth + 2 * pair], odd = left[row * kDepth + 2 * pair + 1];
        const float* lanes = right + pair * kDepth;
        for (int lane = 0; lane < kVectorLanes; ++lane) {
          sums[row * kVectorLanes + lane] += even * lanes[2 * lane] + odd * lanes[2 * lane + 1];
        }
      }
    }
    __builtin_memcpy(&tiles[kSums], sums, sizeof(Tile));
  }
};

constexpr MatrixKernels kMatrix = matrix_kernels<EmulatedUnit>();

}  // namespace

extern const CompiledKernels kEmulatedMatrixKernels{"amx-as-loops",
                                                    16,
                                                    attend_lanes<16>,
                                                    attend_heads<16, float>,
                                                    attend_heads<16, std::uint16_t>,
                                                    {widen_float16, narrow_float16},
                                                    {widen_bfloat16, narrow_bfloat16},
                                                    {widen_int8_by, narrow_bfloat16_to_int8},
                                                    &kMatrix};

}  // namespace longspan::test
