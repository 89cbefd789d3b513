// The pages of one rank at one layer, and where the columns of a sequence lie in them.
//
// A column of most types goes to its page at once. A page of a type with scales (int8) is written
// when it is full; until then its columns are bfloat16, elsewhere:
//
//   own columns     | page 0 | page 1 | ... | page n, not full |
//   between steps     int8     int8           the sequence's tail
//   while a chunk is kept                     fresh pages n, n + 1, ...
//
// A decode row adds its column to the tail. A chunk's columns come in any order, so all the pages
// that they touch fill side by side: begin_keeping(), the copies, settle(). What is read is then
// rounded once, whatever the chunk, the layout and the rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/kernels.h"
#include "attention/segment.h"
#include "attention/split_chunk.h"

namespace longspan {

/// Pages of one type and size, one after the other, of one layer:
///   page   | K: head 0, head 1, ... | V: head 0, ... | scales of K, of V, a float a head |
/// The scales are those of int8.
KvView pages_at(void* memory, KvType type, const HeadShape& heads, std::int64_t page_tokens);

/// Of one such page: a multiple of 8.
constexpr std::int64_t page_bytes(KvType type, const HeadShape& heads, std::int64_t page_tokens) {
  const std::int64_t scales = has_scales(type) ? 2LL * heads.kv_heads * sizeof(float) : 0;
  return page_tokens * heads.kv_values() * value_bytes(type) + scales;
}

/// Columns 0, 1, ... of a view.
struct KvPart {
  KvView view;
  std::int64_t columns;
};

/// The copies from one list of parts to another of as many columns, in order.
std::vector<KvCopy> copies_between(const std::vector<KvPart>& from, const std::vector<KvPart>& to);

/// A column and the view it is one of.
struct KvColumn {
  KvView view;
  std::int64_t column;
};

/// Which pages of this rank are a sequence's.
struct OwnPages {
  std::span<const std::int32_t> slots;  // in page order
  std::int32_t tail;                    // of a type with scales: the page that is not full
};

struct KvPages {
  KvView rest;   // the pool, without a table
  KvView tails;  // of a type with scales: page t is the tail of a sequence
  KvView fresh;  // likewise: page p is the p-th that a chunk adds to

  /// Pages that fill in place.
  KvPages(const KvView& pool = {}) : rest(pool) {}
  KvPages(const KvView& pool, const KvView& tail_pages, const KvView& fresh_pages)
      : rest(pool), tails(tail_pages), fresh(fresh_pages) {}

  bool fill_apart() const { return has_scales(rest.type); }
  KvView table_of(const OwnPages& own) const;
  /// Where `column` of a sequence is written before its page is full.
  KvColumn open_column(const OwnPages& own, std::int64_t column) const;
  /// Columns [columns.begin, columns.end) of a sequence of which this rank holds `held`, in parts
  /// that are not empty: what is left of a page that they begin in, whole pages and the beginning
  /// of one that they end in, what is in the tail.
  std::vector<KvPart> parts(const OwnPages& own, Interval columns, std::int64_t held,
                            int head_dim) const;
};

/// Enqueues what must happen before the first and after the last column of a chunk is kept at a
/// layer: the tail moves to the first fresh page; full fresh pages are rounded into their places,
/// and what is left is the new tail. Nothing happens where pages fill in place.
void begin_keeping(Stream& stream, AttentionKernels& kernels, const KvPages& pages,
                   const SplitChunk& chunk);
void settle(Stream& stream, AttentionKernels& kernels, const KvPages& pages,
            const SplitChunk& chunk);

/// The copy that rounds the tail of a sequence with `columns` own columns, which fill it.
KvCopy full_tail(const KvPages& pages, const OwnPages& own, std::int64_t columns);

}  // namespace longspan
