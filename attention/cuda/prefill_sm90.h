// Many query rows against segments of keys on Hopper's matrix units: bfloat16 factors, float32
// state.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/cuda/prefill_tiles.h"

namespace longspan {

/// How the kernel hides what is not a matrix product: each rung adds one way, so that a fault, or a
/// loss, can be laid at the door of one of them. All rungs compute the same bits.
enum class Sm90Rung {
  kInOrder,   // scores, softmax, values, one after the other; two warpgroups
  kTurns,     // the warpgroups take turns at the matrix units
  kOverlap,   // and each one's softmax runs under the values of its block before
  kFetching,  // and tiles are fetched from a counter instead of dealt
};
inline constexpr Sm90Rung kTopRung = Sm90Rung::kFetching;

struct PrefillSm90 : PrefillTiles {
  CUtensorMap q;              // bfloat16 (rows, query_heads, head_dim), boxes of kTileRows rows
  CUtensorMap k[kMostViews];  // bfloat16 (slots, kv_heads, page_tokens, head_dim), box_tokens
  CUtensorMap v[kMostViews];
  unsigned long long* next_tile;  // on the GPU; 0 when the kernel starts
  const std::uint64_t* arrivals;  // for which tiles wait; raised while the kernel runs
  bool is_whole;  // nothing was folded in before, nor will be: O and lse are stored instead
};

/// Whether the current GPU is of compute capability 9.0.
bool device_runs_sm90();
/// Once before the first launch. Throws DeviceError where a GPU has too little shared memory.
void prepare_prefill_sm90(int head_dim);
/// Folds the segments into the state, or makes O and lse of them alone where they are whole, in
/// list order, on at most `blocks` multiprocessors.
void launch_prefill_sm90(const PrefillSm90& work, Sm90Rung rung, int blocks, cudaStream_t stream);

}  // namespace longspan
