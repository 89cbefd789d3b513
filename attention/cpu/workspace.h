// Memory that kernels compute in, kept from call to call.
//
// A call takes a workspace and puts it back, so several streams may use one set of kernels, and
// after the first calls nothing is allocated.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "attention/cpu/key_columns.h"
#include "attention/cpu/row_tile.h"
#include "attention/partial.h"

namespace longspan {

struct ThreadWorkspace {
  ThreadWorkspace(const TileKernel& kernel, int head_dim) : rows(kernel, head_dim) {}

  RowTile rows;
  KeyColumns keys;
  std::array<std::int64_t, kTileLanes> visible;             // columns of a segment each lane sees
  alignas(64) std::array<std::int32_t, kTileLanes> limits;  // the same, of a tile
};

struct Workspace {
  std::vector<std::unique_ptr<ThreadWorkspace>> threads;
  std::vector<float> split_values;  // decode: partials of splits
  std::vector<Partial> splits;
};

class WorkspacePool {
 public:
  WorkspacePool(const TileKernel& kernel, int head_dim) : kernel_(&kernel), head_dim_(head_dim) {}

  /// Room for `threads` threads at least.
  std::unique_ptr<Workspace> take(int threads);
  void put(std::unique_ptr<Workspace> workspace);

 private:
  const TileKernel* kernel_;
  int head_dim_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace longspan
