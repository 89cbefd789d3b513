// Host memory that a GPU reads and writes by itself: copies from it are asynchronous, and kernels
// may use its address as it is.
#pragma once

#include <cstddef>

#include "comm/device.h"

namespace longspan {

/// Uninitialised, page-aligned. Throws OutOfMemory. Needs a current CUDA device.
Buffer allocate_pinned(std::size_t bytes);

}  // namespace longspan
