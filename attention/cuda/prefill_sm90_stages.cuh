// What the warps of Hopper's prefill kernel share: stages of tiles in shared memory, and the
// barriers that hand them over.
#pragma once

#include <cstdint>

#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/mbarrier.cuh"
#include "attention/cuda/prefill_tiles.h"
#include "attention/cuda/warp.cuh"

namespace longspan::sm90 {

inline constexpr int kWarpgroup = 128;
inline constexpr int kConsumerWarps = 2 * kWarpgroup / kWarp;
inline constexpr int kGroupRows = 64;  // of a warpgroup
inline constexpr int kQueryStages = 2;

constexpr int stages(int head_dim) { return head_dim == 64 ? 4 : 2; }

/// What the consumers need to know of a tile. head < 0: there are no more.
struct TileNote {
  QueryTile rows;
  int head;
};

template <int kHeadDim>
struct Shared {
  static constexpr int kStages = stages(kHeadDim);
  static constexpr int kTileBytes = matrix_tile_bytes(kBlockColumns, kHeadDim);
  static_assert(kTileRows == kBlockColumns && kTileBytes % kSwizzleBytes == 0);

  std::byte q[kQueryStages][kTileBytes];  // (kTileRows, kHeadDim)
  std::byte k[kStages][kTileBytes];       // (kBlockColumns, kHeadDim)
  std::byte v[kStages][kTileBytes];
  Mbarrier q_full[kQueryStages], q_empty[kQueryStages];
  Mbarrier k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages];
  Mbarrier tail;  // a block of V that the producer still has to clear
  TileNote notes[kQueryStages];
};

template <int kHeadDim>
__device__ Shared<kHeadDim>& find_shared() {
  extern __shared__ __align__(kSwizzleBytes) std::byte memory[];
  return *reinterpret_cast<Shared<kHeadDim>*>(memory);
}

template <int kHeadDim>
__device__ void init_barriers(Shared<kHeadDim>& shared) {
  for (int i = 0; i < kQueryStages; ++i) {
    shared.q_full[i].init(1);
    shared.q_empty[i].init(kConsumerWarps + 1);  // and the producer of values
  }
  for (int i = 0; i < Shared<kHeadDim>::kStages; ++i) {
    shared.k_full[i].init(1);
    shared.v_full[i].init(1);
    shared.k_empty[i].init(kConsumerWarps);
    shared.v_empty[i].init(kConsumerWarps);
  }
  shared.tail.init(1);
  fence_mbarrier_init();
}

}  // namespace longspan::sm90
