// One instruction at a time: the parts of the Hopper kernel alone, so that a wrong result of the
// whole can be laid at the door of one of them. Everything lies on the GPU.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace longspan::test {

/// A score tile: s (128, 128) = q (128, columns) k (128, columns)^T, written to shared memory by
/// plain stores, swizzled. bfloat16; columns 64 or 128.
void launch_score_tile(const std::uint16_t* q, const std::uint16_t* k, int columns, float* s,
                       cudaStream_t stream);

/// A value tile: o (64, columns) = p (64, 128) v (128, columns): p from registers, packed from the
/// places of a score tile; v as above.
void launch_value_tile(const float* p, const std::uint16_t* v, int columns, float* o,
                       cudaStream_t stream);

/// One block of 128 columns of KV head `kv_head`, from slots `slots`, in boxes of `box_tokens`
/// tokens: the bytes of the tile as they lie in shared memory, which was 0xff before.
struct CopiedTile {
  CUtensorMap map;
  int columns;  // of the tile: head_dim
  int kv_head;
  int first;  // token in its page
  int box_tokens;
  int boxes;
  int slots[16];  // of each box
};
void launch_copied_tile(const CopiedTile& work, std::uint8_t* bytes, cudaStream_t stream);

}  // namespace longspan::test
