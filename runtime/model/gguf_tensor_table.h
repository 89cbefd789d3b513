// The tensor part of a GGUF header: which tensors there are, and where their data lies.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/model/gguf.h"
#include "runtime/model/gguf_cursor.h"

namespace longspan {

/// Reads `count` entries and checks each against the file: known type, sane shape, aligned, inside
/// the file, overlapping no other.
std::vector<TensorInfo> read_gguf_tensor_table(GgufCursor& cursor, std::uint64_t count,
                                               std::uint64_t alignment);

}  // namespace longspan
