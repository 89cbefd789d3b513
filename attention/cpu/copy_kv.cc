#include "attention/cpu/copy_kv.h"

#include <algorithm>
#include <cstring>

namespace longspan {
namespace {

std::int64_t left_in_page(const KvView& view, std::int64_t column) {
  return view.page_tokens - column % view.page_tokens;
}

/// Columns that stay together on both sides: up to the end of a page here or there, or of a block
/// of the target's positions.
std::int64_t together(const KvCopy& copy, std::int64_t done, std::int64_t to_column) {
  const PositionRun& to = copy.to_columns;
  return std::min({to.count - done, to.block - done % to.block,
                   left_in_page(copy.from, copy.from_column + done),
                   left_in_page(copy.to, to_column)});
}

void copy_values(const CompiledKernels& kernels, KvType from_type, const void* from,
                 std::int64_t count, KvType to_type, void* to) {
  if (from_type == to_type) {
    std::memcpy(to, from, count * value_bytes(to_type));
    return;
  }
  const KvType narrow_type = from_type == KvType::kFloat32 ? to_type : from_type;
  const ValueConversion& conversion =
      narrow_type == KvType::kFloat16 ? kernels.float16 : kernels.bfloat16;
  if (to_type == KvType::kFloat32) {
    conversion.widen(static_cast<const std::uint16_t*>(from), count, static_cast<float*>(to));
  } else {
    conversion.narrow(static_cast<const float*>(from), count, static_cast<std::uint16_t*>(to));
  }
}

}  // namespace

void copy_columns(const CompiledKernels& kernels, const KvCopy& copy, int kv_head, int head_dim) {
  for (std::int64_t done = 0; done < copy.to_columns.count;) {
    const std::int64_t to_column = copy.to_columns.position(done);
    const std::int64_t count = together(copy, done, to_column);
    const std::int64_t source = copy.from.offset(copy.from_column + done, kv_head, head_dim);
    const std::int64_t target = copy.to.offset(to_column, kv_head, head_dim);
    const KvView from = copy.from.shifted(source), to = copy.to.shifted(target);
    copy_values(kernels, from.type, from.k, count * head_dim, to.type, to.k);
    copy_values(kernels, from.type, from.v, count * head_dim, to.type, to.v);
    done += count;
  }
}

}  // namespace longspan
