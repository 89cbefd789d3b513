// The KV cache of one rank: equal pages of device memory, leased to sequences.
//
//   pool    | layer 0                       | layer 1                       | ...
//   layer   | page 0 | page 1 | page 2 | ...                     page = page_tokens tokens
//   page    | K: head 0, head 1, ... | V: head 0, head 1, ... | of int8: a scale of each
//   head    | page_tokens x head_dim values                      contiguous: one tile
//
// Layer-major, since every reader works on one layer at a time. A page is thus a slot with one
// piece per layer.
//
// Not thread-safe: the worker thread owns it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "attention/kv_pages.h"
#include "comm/device.h"

namespace longspan {

using PageSlot = std::int32_t;

class KvPagePool;

/// One sequence's references to pages of this rank, in token order. Dropped when destroyed; the
/// pool must outlive it.
class KvLease {
 public:
  KvLease() = default;
  KvLease(KvLease&& other) noexcept;
  KvLease& operator=(KvLease&& other) noexcept;
  ~KvLease();

  const std::vector<PageSlot>& slots() const { return slots_; }
  /// Adds `count` fresh pages at the end. All or nothing: false leaves the lease as it was.
  [[nodiscard]] bool try_extend(int count);
  /// Puts a fresh page at index `at`. False when none is free.
  [[nodiscard]] bool try_insert(int at);
  /// Takes the page at index `at` out, as a lease of its own.
  [[nodiscard]] KvLease remove(int at);
  /// Another reference to the first `count` pages: how two sequences share a prefix.
  [[nodiscard]] KvLease share(int count) const;

 private:
  friend class KvPagePool;
  KvLease(KvPagePool& pool, std::vector<PageSlot> slots) : pool_(&pool), slots_(std::move(slots)) {}

  KvPagePool* pool_ = nullptr;
  std::vector<PageSlot> slots_;
};

struct KvPageShape {
  HeadShape heads;
  int layers = 1;
  std::int64_t page_tokens = 16;
  KvType type = KvType::kFloat32;

  std::size_t piece_bytes() const { return longspan::page_bytes(type, heads, page_tokens); }
  /// All layers of one page.
  std::size_t page_bytes() const { return layers * piece_bytes(); }
};

class KvPagePool {
 public:
  /// Allocates `pages` pages. Throws OutOfMemory.
  KvPagePool(Device& device, const KvPageShape& shape, int pages);

  /// `count` pages, or nothing when fewer are free.
  [[nodiscard]] std::optional<KvLease> try_lease(int count);

  const KvPageShape& shape() const { return shape_; }
  int pages() const { return static_cast<int>(references_.size()); }
  int free_pages() const { return static_cast<int>(free_.size()); }
  /// The most pages that were ever in use at once.
  int most_used() const { return most_used_; }
  /// Sequences that refer to `slot`.
  int references(PageSlot slot) const { return references_[slot]; }
  /// Goes up each time `slot` is freed, so that a late reader can tell.
  std::uint32_t generation(PageSlot slot) const { return generations_[slot]; }
  /// All pages at `layer`, without a table: set `table` to a lease's slots.
  KvView layer(int layer) const;

 private:
  friend class KvLease;
  std::vector<PageSlot> take(int count);
  void reference(PageSlot slot) { ++references_[slot]; }
  void drop(PageSlot slot);

  KvPageShape shape_;
  Buffer memory_;
  std::vector<int> references_;
  std::vector<std::uint32_t> generations_;
  std::vector<PageSlot> free_;  // a stack: the page last freed is the one still in cache
  int most_used_ = 0;
};

}  // namespace longspan
