// Which rank owns each page of one sequence, and this rank's own pages of it.
//
// Page p holds positions [p * page_tokens, (p + 1) * page_tokens). Every rank of a group knows all
// owners; only the owner knows the slot. Owners are promised for every page the sequence can ever
// need; a page is opened, and leased by its owner, when the sequence reaches it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/memory/kv_page_pool.h"

namespace longspan {

class PageTable {
 public:
  /// For the rank `self`, whose pages come from `pool`.
  PageTable(KvPagePool& pool, int self);

  /// Says who (world rank) owns each page. Once, before the first page is opened.
  void promise(std::vector<int> owners);
  /// Opens the pages that positions [0, length) need and are not open yet. Throws std::logic_error
  /// when no owner was promised or the pool is empty: memory is promised before work starts.
  void open(std::int64_t length);

  /// Of the open pages.
  std::span<const int> owners() const { return std::span(owners_).first(opened_); }
  /// Of the open pages that this rank owns, in page order.
  const std::vector<PageSlot>& slots() const { return lease_.slots(); }

 private:
  std::int64_t page_tokens_;
  int self_;
  std::vector<int> owners_;
  std::size_t opened_ = 0;
  KvLease lease_;
};

}  // namespace longspan
