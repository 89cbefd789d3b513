// Tensors of bfloat16 as Hopper's copy engine knows them. The driver writes the maps; it is asked
// for through the runtime, so that nothing links to it.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <span>

namespace longspan {

/// A dimension, innermost first. Of the innermost one the stride is 1.
struct TensorDimension {
  std::int64_t size;
  std::int64_t stride;  // values; of more than one: in multiples of 16 bytes
  std::int32_t box;     // of it that one copy takes
};

/// A map of the tensor at `memory`, a multiple of 16 bytes: 3 to 5 dimensions, the innermost boxes
/// 64 values wide, swizzled as matrix_tile.h says. What a box holds outside of the tensor is zeros.
/// Throws DeviceError where the driver refuses it, or is too old to know of maps.
CUtensorMap tensor_map(const void* memory, std::span<const TensorDimension> dimensions);

}  // namespace longspan
