#include "attention/cuda/cuda_copy_calls.h"

#include <algorithm>
#include <cstdint>

#include "attention/cuda/copy_kv.h"
#include "attention/cuda/segment_descriptors.h"
#include "comm/error.h"

namespace longspan {
namespace {

/// Columns of each side, up to the last that is copied.
std::int64_t columns_read(const KvCopy& copy) { return copy.from_column + copy.to_columns.count; }
std::int64_t columns_written(const KvCopy& copy) { return copy.to_columns.last() + 1; }

}  // namespace

void copy_columns(std::vector<KvCopy> copies, const HeadShape& shape, CudaCallMemory& memory,
                  CudaStream& to) {
  std::erase_if(copies, [](const KvCopy& copy) { return copy.to_columns.count == 0; });
  if (copies.empty()) return;
  expects(std::ranges::all_of(
              copies, [](const KvCopy& copy) { return is_read(copy.from) && is_read(copy.to); }),
          "these kernels copy float32 and bfloat16");
  std::size_t bytes = Descriptors::room<KvCopy>(std::ssize(copies));
  std::int64_t longest = 0;
  for (const KvCopy& copy : copies) {
    bytes += table_room(copy.from, columns_read(copy)) + table_room(copy.to, columns_written(copy));
    longest = std::max(longest, copy.to_columns.count);
  }
  Descriptors& descriptors = memory.descriptors.take(bytes, to);
  for (KvCopy& copy : copies) {
    copy.from = with_table(copy.from, columns_read(copy), descriptors);
    copy.to = with_table(copy.to, columns_written(copy), descriptors);
  }
  const KvCopy* there = descriptors.add(std::span<const KvCopy>(copies));
  memory.descriptors.enqueue(descriptors, to, [&] {
    to.launch<launch_copy_kv>(there, std::int64_t{std::ssize(copies)}, longest, shape);
  });
}

}  // namespace longspan
