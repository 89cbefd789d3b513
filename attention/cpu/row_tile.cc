#include "attention/cpu/row_tile.h"

#include <algorithm>

#include "attention/cpu/lane_rows.h"
#include "attention/cpu/matrix_rows.h"
#include "attention/shard_layout.h"

namespace longspan {

std::optional<SeenTile> seen_by(const KeyTile& keys, const TileColumns& seen, int first,
                                int lanes) {
  Interval all{0, keys.columns};   // what every lane sees
  Interval some{keys.columns, 0};  // outside of which no lane sees anything
  for (int lane = first; lane < first + lanes; ++lane) {
    const std::int64_t begin = seen.begin[lane], end = seen.end[lane];
    all = {std::max(all.begin, begin), std::min(all.end, end)};
    if (begin < end) some = {std::min(some.begin, begin), std::max(some.end, end)};
  }
  if (some.begin >= some.end) return std::nullopt;
  const KeyTile tile{keys.k, keys.v,
                     static_cast<int>(std::min<std::int64_t>(keys.columns, some.end))};
  if (all.begin == 0 && all.end >= tile.columns) return SeenTile{tile, {}};
  return SeenTile{tile, {seen.begin.data() + first, seen.end.data() + first}};
}

std::unique_ptr<RowTile> new_row_tile(const CompiledKernels& kernels, int head_dim) {
  if (kernels.matrix) return std::make_unique<MatrixRows>(*kernels.matrix, head_dim);
  return std::make_unique<LaneRows>(kernels, head_dim);
}

}  // namespace longspan
