// The KV cache of one rank: equal pages of device memory, and which of them sequences refer to.
//
//   pool    | layer 0                       | layer 1                       | ...
//   layer   | page 0 | page 1 | page 2 | ...                     page = page_tokens tokens
//   page    | K: head 0, head 1, ... | V: head 0, head 1, ... | of int8: a scale of each
//   head    | page_tokens x head_dim values                      contiguous: one tile
//
// Layer-major, since every reader works on one layer at a time. A page is thus a slot with one
// piece per layer.
//
// The pool chooses no page: whoever hands them out (the page ledger, on rank 0) says which slot,
// and how many contents the slot has had before. The pool refuses what cannot be: a slot that is in
// use, or contents older than those it had. What no sequence refers to any more stays as it is
// until its slot is claimed: another sequence may join it.
//
// Not thread-safe: the worker thread owns it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "attention/kv_pages.h"
#include "comm/device.h"

namespace longspan {

using PageSlot = std::int32_t;

/// What a slot holds from one claim of it to the next: a later one has a higher generation.
struct PageContents {
  PageSlot slot = 0;
  std::uint32_t generation = 0;
};

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
  /// Puts a page at index `at` (0 to the end), whose contents begin now. Throws std::logic_error
  /// when its slot is not one of the pool, is in use, or has had these contents.
  void claim(int at, PageContents page);
  /// Adds a page at the end whose contents are there, written by another sequence, whether or not
  /// that still refers to it. Throws std::logic_error when the slot holds others.
  void join(PageContents page);
  /// Takes the page at index `at` out, as a lease of its own.
  [[nodiscard]] KvLease remove(int at);
  /// Another lease of its pages [first, first + count).
  [[nodiscard]] KvLease share(int first, int count) const;

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

  /// Of no page yet.
  KvLease lease() { return KvLease(*this, {}); }
  /// For pools that nobody else hands out: new contents for a slot that is not in use, the first
  /// one; nothing when all are. Takes as long as there are slots in use before it.
  std::optional<PageContents> unused() const;

  const KvPageShape& shape() const { return shape_; }
  int pages() const { return static_cast<int>(references_.size()); }
  /// Pages that sequences refer to, now and at most.
  int used() const { return used_; }
  int most_used() const { return most_used_; }
  /// Sequences that refer to `slot`.
  int references(PageSlot slot) const { return references_[slot]; }
  /// What `slot` holds at `layer`: K, V, and scales if there are any.
  Bytes piece(PageSlot slot, int layer) const;
  /// Whether the slot holds these contents still, whoever refers to them.
  bool holds(PageContents page) const { return generations_.at(page.slot) == page.generation; }
  /// Enqueues a copy of all that the slot holds to `page`, layer by layer, or of `page` to the
  /// slot. `page`: as many bytes as a page has, of host memory.
  void save(Stream& stream, PageSlot slot, Bytes page) const;
  void load(Stream& stream, PageSlot slot, ConstBytes page);
  /// Enqueues a copy of all that slot `from` holds.
  void copy(Stream& stream, PageSlot from, PageSlot to);
  /// All pages at `layer`, without a table: set `table` to a lease's slots.
  KvView layer(int layer) const;

 private:
  friend class KvLease;
  void claim(PageContents page);
  void join(PageContents page);
  void refer(PageSlot slot);
  void drop(PageSlot slot);
  [[noreturn]] void refuse(PageContents page, std::string_view why) const;

  Device& device_;
  KvPageShape shape_;
  Buffer memory_;
  std::vector<int> references_;
  std::vector<std::int64_t> generations_;  // of what each slot holds; -1: nothing yet
  int used_ = 0;
  int most_used_ = 0;
};

}  // namespace longspan
