// Memory that kernels compute in, kept from call to call.
//
// A call takes a workspace and puts it back, so several streams may use one set of kernels, and
// after the first calls no workspace is allocated any more.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "attention/cpu/head_columns.h"
#include "attention/cpu/key_columns.h"
#include "attention/cpu/row_tile.h"
#include "attention/partial.h"
#include "attention/shard_layout.h"

namespace longspan {

struct ThreadWorkspace {
  ThreadWorkspace(const CompiledKernels& kernels, const HeadShape& shape)
      : keys(kernels, shape.head_dim),
        rows(new_row_tile(kernels, shape.head_dim)),
        decode_keys{{kernels, shape.head_dim}, {kernels, shape.head_dim}},
        q(shape.query_heads * shape.head_dim),
        m(shape.query_heads),
        l(shape.query_heads) {}

  // Prefill.
  KeyColumns keys;
  std::unique_ptr<RowTile> rows;
  std::array<Interval, kMostTileLanes> seen;  // columns of a segment each lane sees
  TileColumns tile_seen;                      // the same, of a tile
  // Decode: one row's heads; a tile and the one after it.
  std::vector<KeyPiece> tile;
  HeadColumns decode_keys[2];
  std::vector<float> q, m, l;
};

struct Workspace {
  std::vector<std::unique_ptr<ThreadWorkspace>> threads;
  std::vector<float> split_values;  // decode: partials of splits
  std::vector<Partial> splits;
};

class WorkspacePool {
 public:
  WorkspacePool(const CompiledKernels& kernels, const HeadShape& shape)
      : kernels_(kernels), shape_(shape) {}

  /// Room for `threads` threads at least.
  std::unique_ptr<Workspace> take(int threads);
  void put(std::unique_ptr<Workspace> workspace);

 private:
  const CompiledKernels& kernels_;
  HeadShape shape_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace longspan
