#include "attention/cuda/segment_descriptors.h"

#include "comm/error.h"

namespace longspan {
namespace {

/// The entries of a view's table that columns [0, columns) need.
std::span<const std::int32_t> table_of(const KvView& view, std::int64_t columns) {
  if (!view.table) return {};
  return {view.table,
          static_cast<std::size_t>((columns + view.page_tokens - 1) / view.page_tokens)};
}

}  // namespace

bool is_read(const KvView& view) {
  return view.type == KvType::kFloat32 || view.type == KvType::kBFloat16;
}

std::size_t table_room(const KvView& view, std::int64_t columns) {
  return Descriptors::room<std::int32_t>(std::ssize(table_of(view, columns)));
}

KvView with_table(const KvView& view, std::int64_t columns, Descriptors& descriptors) {
  KvView there = view;
  if (view.table) there.table = descriptors.add(table_of(view, columns));
  return there;
}

std::size_t tables_room(std::span<const KvSegment> segments) {
  std::size_t bytes = 0;
  for (const KvSegment& segment : segments) bytes += table_room(segment.view, segment.len);
  return bytes;
}

std::size_t segments_room(std::span<const KvSegment> segments) {
  return Descriptors::room<KvSegment>(std::ssize(segments)) + tables_room(segments);
}

const KvSegment* add_segments(std::vector<KvSegment> segments, Descriptors& descriptors) {
  for (KvSegment& segment : segments) {
    expects(is_read(segment.view), "these kernels read float32 and bfloat16");
    segment.view = with_table(segment.view, segment.len, descriptors);
  }
  return descriptors.add(std::span<const KvSegment>(segments));
}

}  // namespace longspan
