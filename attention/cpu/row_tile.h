// Query heads of rows that go through the keys together, with their running softmax.
//
// A lane is one query head of one row. Its arithmetic never depends on its neighbours: which rows
// share a tile changes no bits.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "attention/cpu/compiled_kernels.h"

namespace longspan {

/// Of any implementation.
inline constexpr int kMostTileLanes = 512;

/// What each lane sees of a tile of keys. Lanes that only fill up a vector see nothing.
struct TileColumns {
  alignas(64) std::array<std::int32_t, kMostTileLanes> begin{};
  alignas(64) std::array<std::int32_t, kMostTileLanes> end{};
};

/// A tile as some of its lanes see it.
struct SeenTile {
  KeyTile keys;         // without the columns behind the last that one of them sees
  LaneColumns columns;  // null where all of them see all of it
};

/// For lanes [first, first + lanes); nothing where they see nothing.
std::optional<SeenTile> seen_by(const KeyTile& keys, const TileColumns& seen, int first, int lanes);

class RowTile {
 public:
  virtual ~RowTile() = default;

  /// Lanes that share one pass over the keys: each key tile is fetched from afar once for all of
  /// them. At most kMostTileLanes.
  virtual int most_lanes() const = 0;

  /// Forgets everything; the lanes' queries are zero and their state empty. Then, on the same
  /// thread, the calls below, and stop() at last.
  virtual void start(int lanes, float scale) = 0;
  virtual void stop() = 0;

  virtual void set_query(int lane, const float* q) = 0;
  virtual void set_state(int lane, const float* acc, float m, float l) = 0;
  virtual void copy_state(int lane, float* acc, float* m, float* l) const = 0;

  /// Every lane sees every column.
  virtual void attend(const KeyTile& keys) = 0;
  /// Lane i sees columns [begin[i], end[i]): may be none, may end behind the last one.
  virtual void attend(const KeyTile& keys, const TileColumns& seen) = 0;
};

/// In float32, or in bfloat16 where the kernels have a matrix unit.
std::unique_ptr<RowTile> new_row_tile(const CompiledKernels& kernels, int head_dim);

}  // namespace longspan
