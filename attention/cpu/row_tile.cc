#include "attention/cpu/row_tile.h"

#include "attention/cpu/lane_rows.h"
#include "attention/cpu/matrix_rows.h"

namespace longspan {

std::unique_ptr<RowTile> new_row_tile(const CompiledKernels& kernels, int head_dim) {
  if (kernels.matrix) return std::make_unique<MatrixRows>(*kernels.matrix, head_dim);
  return std::make_unique<LaneRows>(kernels, head_dim);
}

}  // namespace longspan
