#include "runtime/session/page_columns.h"

#include "comm/error.h"

namespace longspan {
namespace {

/// Of one head in one column.
std::size_t column_bytes(const KvPageShape& shape) {
  return static_cast<std::size_t>(shape.heads.head_dim) * value_bytes(shape.type);
}

std::size_t head_bytes(const KvPageShape& shape) { return shape.page_tokens * column_bytes(shape); }

/// Where K (0) or V (1) of a layer begins.
std::byte* values_at(const PageMemory& page, int layer, int which) {
  const std::size_t heads = static_cast<std::size_t>(which) * page.shape.heads.kv_heads;
  return page.at + layer * page.layer_stride + heads * head_bytes(page.shape);
}

/// Where its scales begin, a float a head.
std::byte* scales_at(const PageMemory& page, int layer, int which) {
  const std::size_t heads = static_cast<std::size_t>(which) * page.shape.heads.kv_heads;
  return values_at(page, layer, 2) + heads * sizeof(float);
}

}  // namespace

PageMemory page_of(const KvPagePool& pool, PageSlot slot) {
  const std::size_t piece = pool.shape().piece_bytes();
  return {.at = static_cast<std::byte*>(pool.layer(0).k) + slot * piece,
          .layer_stride = pool.pages() * piece,
          .shape = pool.shape()};
}

PageMemory page_at(std::byte* at, const KvPageShape& shape) {
  return {.at = at, .layer_stride = shape.piece_bytes(), .shape = shape};
}

void copy_columns(Device& device, Stream& stream, const PageMemory& to, const PageMemory& from,
                  const PageCut& cut) {
  const KvPageShape& shape = from.shape;
  expects(shape.type == to.shape.type && shape.layers == to.shape.layers &&
              shape.heads.head_dim == to.shape.heads.head_dim,
          "pages of one model and type");
  const bool scales = has_scales(shape.type);
  expects(!scales || (cut.columns == shape.page_tokens && cut.columns == to.shape.page_tokens),
          "what was rounded together stays together");
  const std::size_t column = column_bytes(shape);
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int which : {0, 1}) {
      device.copy_rows(
          stream,
          values_at(to, layer, which) + cut.to_head * head_bytes(to.shape) + cut.to_column * column,
          head_bytes(to.shape),
          values_at(from, layer, which) + cut.from_head * head_bytes(shape) +
              cut.from_column * column,
          head_bytes(shape), cut.columns * column, cut.heads);
      if (!scales) continue;
      const std::size_t bytes = cut.heads * sizeof(float);
      device.copy(stream, {scales_at(to, layer, which) + cut.to_head * sizeof(float), bytes},
                  {scales_at(from, layer, which) + cut.from_head * sizeof(float), bytes});
    }
  }
}

}  // namespace longspan
