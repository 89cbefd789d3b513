// Segments among the descriptors of a call: as kernels find them, with their tables on the GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/cuda/descriptor_pool.h"
#include "attention/segment.h"

namespace longspan {

/// Whether kernels read a view's type: see element.cuh.
bool is_read(const KvView& view);

/// Bytes that the table of a view takes, for columns [0, columns).
std::size_t table_room(const KvView& view, std::int64_t columns);
/// `view` with its table among the descriptors.
KvView with_table(const KvView& view, std::int64_t columns, Descriptors& descriptors);

/// Bytes that the tables of segments take, and segments with their tables.
std::size_t tables_room(std::span<const KvSegment> segments);
std::size_t segments_room(std::span<const KvSegment> segments);
/// Segments that kernels read, with their tables.
const KvSegment* add_segments(std::vector<KvSegment> segments, Descriptors& descriptors);

}  // namespace longspan
