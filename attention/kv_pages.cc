#include "attention/kv_pages.h"

#include <algorithm>

namespace longspan {
namespace {

PositionRun run_of(std::int64_t first, std::int64_t count) {
  return {.first = first, .block = count, .stride = count, .count = count};
}

void copy(Stream& stream, AttentionKernels& kernels, const KvColumn& from, const KvColumn& to,
          std::int64_t count) {
  if (count == 0) return;
  kernels.copy_kv(stream, {{from.view, from.column, to.view, run_of(to.column, count)}});
}

}  // namespace

KvView pages_at(void* memory, KvType type, const HeadShape& heads, std::int64_t page_tokens) {
  const std::int64_t half = page_tokens * heads.kv_values() / 2;
  KvView view{.k = memory,
              .v = nullptr,
              .head_stride = page_tokens * heads.head_dim,
              .page_stride = page_bytes(type, heads, page_tokens) / value_bytes(type),
              .table = nullptr,
              .page_tokens = page_tokens,
              .type = type};
  view.v = view.shifted(half).k;
  if (has_scales(type)) {
    view.k_scales = static_cast<std::byte*>(view.shifted(2 * half).k);
    view.v_scales = view.k_scales + sizeof(float) * heads.kv_heads;
  }
  return view;
}

std::vector<KvCopy> copies_between(const std::vector<KvPart>& from, const std::vector<KvPart>& to) {
  std::vector<KvCopy> copies;
  auto target = to.begin();
  std::int64_t done = 0;  // columns of it
  for (const KvPart& source : from) {
    for (std::int64_t column = 0; column < source.columns;) {
      while (done == target->columns) {
        ++target;
        done = 0;
      }
      const std::int64_t count = std::min(source.columns - column, target->columns - done);
      copies.push_back({source.view, column, target->view, run_of(done, count)});
      column += count;
      done += count;
    }
  }
  return copies;
}

KvView KvPages::table_of(const OwnPages& own) const {
  KvView pages = rest;
  pages.table = own.slots.data();
  return pages;
}

KvColumn KvPages::open_column(const OwnPages& own, std::int64_t column) const {
  if (!fill_apart()) return {table_of(own), column};
  return {tails, own.tail * rest.page_tokens + column % rest.page_tokens};
}

std::vector<KvPart> KvPages::parts(const OwnPages& own, Interval columns, std::int64_t held,
                                   int head_dim) const {
  const std::int64_t page = rest.page_tokens;
  const std::int64_t at_rest = fill_apart() ? held / page * page : held;
  const std::int64_t end = std::min(columns.end, at_rest);
  const KvView pages = table_of(own);
  std::vector<KvPart> parts;
  std::int64_t column = columns.begin;
  while (column < end) {
    const std::int64_t inside = column % page;
    const std::int64_t count = inside == 0 ? end - column : std::min(end - column, page - inside);
    parts.push_back({pages.from(column, head_dim), count});
    column += count;
  }
  if (column < columns.end) {
    const KvColumn open = open_column(own, column);
    parts.push_back({open.view.from(open.column, head_dim), columns.end - column});
  }
  return parts;
}

void begin_keeping(Stream& stream, AttentionKernels& kernels, const KvPages& pages,
                   const SplitChunk& chunk) {
  if (!pages.fill_apart() || chunk.kept_columns() == 0) return;
  const std::int64_t tail = chunk.held_columns() % chunk.page_tokens;
  copy(stream, kernels, {pages.tails, chunk.tail * chunk.page_tokens}, {pages.fresh, 0}, tail);
}

void settle(Stream& stream, AttentionKernels& kernels, const KvPages& pages,
            const SplitChunk& chunk) {
  if (!pages.fill_apart() || chunk.kept_columns() == 0) return;
  const std::int64_t page = chunk.page_tokens;
  const std::int64_t first = chunk.held_columns() / page * page;
  const std::int64_t end = chunk.held_columns() + chunk.kept_columns();
  const std::int64_t full = (end - first) / page * page;
  const OwnPages own{chunk.slots, chunk.tail};
  copy(stream, kernels, {pages.fresh, 0}, {pages.table_of(own), first}, full);
  copy(stream, kernels, {pages.fresh, full}, {pages.tails, chunk.tail * page}, end - first - full);
}

KvCopy full_tail(const KvPages& pages, const OwnPages& own, std::int64_t columns) {
  const std::int64_t page = pages.rest.page_tokens;
  return {pages.tails, own.tail * page, pages.table_of(own), run_of(columns - page, page)};
}

}  // namespace longspan
