#include "attention/cpu/copy_kv.h"

#include <algorithm>
#include <cstring>

#include "comm/error.h"

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

/// Keys or values of one head in one page.
struct Values {
  KvType type;
  void* first;
  float* scale;  // of int8
};

Values keys_of(const KvView& view, std::int64_t column, int kv_head, int head_dim) {
  const KvView at = view.shifted(view.offset(column, kv_head, head_dim));
  return {view.type, at.k, has_scales(view.type) ? view.k_scale(column, kv_head) : nullptr};
}

Values values_of(const KvView& view, std::int64_t column, int kv_head, int head_dim) {
  const KvView at = view.shifted(view.offset(column, kv_head, head_dim));
  return {view.type, at.v, has_scales(view.type) ? view.v_scale(column, kv_head) : nullptr};
}

const ValueConversion& conversion(const CompiledKernels& kernels, KvType type) {
  return type == KvType::kFloat16 ? kernels.float16 : kernels.bfloat16;
}

void widen_values(const CompiledKernels& kernels, const Values& from, std::int64_t count,
                  float* to) {
  if (from.type == KvType::kInt8) {
    kernels.int8.widen(static_cast<const std::int8_t*>(from.first), count, *from.scale, to);
  } else {
    conversion(kernels, from.type).widen(static_cast<const std::uint16_t*>(from.first), count, to);
  }
}

void copy_values(const CompiledKernels& kernels, const Values& from, const Values& to,
                 std::int64_t count) {
  if (from.type == to.type) {
    std::memcpy(to.first, from.first, count * value_bytes(to.type));
    if (has_scales(to.type)) *to.scale = *from.scale;
  } else if (to.type == KvType::kFloat32) {
    widen_values(kernels, from, count, static_cast<float*>(to.first));
  } else if (to.type == KvType::kInt8) {
    *to.scale = kernels.int8.narrow(static_cast<const std::uint16_t*>(from.first), count,
                                    static_cast<std::int8_t*>(to.first));
  } else {
    conversion(kernels, to.type)
        .narrow(static_cast<const float*>(from.first), count,
                static_cast<std::uint16_t*>(to.first));
  }
}

}  // namespace

bool is_possible(const KvCopy& copy) {
  const KvType from = copy.from.type, to = copy.to.type;
  if (to == KvType::kInt8) return from == KvType::kInt8 || from == KvType::kBFloat16;
  return from == to || from == KvType::kFloat32 || to == KvType::kFloat32;
}

void copy_columns(const CompiledKernels& kernels, const KvCopy& copy, int kv_head, int head_dim) {
  const bool whole_pages = has_scales(copy.to.type);
  for (std::int64_t done = 0; done < copy.to_columns.count;) {
    const std::int64_t column = copy.from_column + done;
    const std::int64_t to_column = copy.to_columns.position(done);
    const std::int64_t count = together(copy, done, to_column);
    expects(!whole_pages || count == copy.to.page_tokens, "a page with scales comes from one page");
    copy_values(kernels, keys_of(copy.from, column, kv_head, head_dim),
                keys_of(copy.to, to_column, kv_head, head_dim), count * head_dim);
    copy_values(kernels, values_of(copy.from, column, kv_head, head_dim),
                values_of(copy.to, to_column, kv_head, head_dim), count * head_dim);
    done += count;
  }
}

}  // namespace longspan
