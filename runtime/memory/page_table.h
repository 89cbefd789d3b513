// Which rank owns each page of one sequence, and this rank's own pages of it.
//
// Page p holds positions [p * page_tokens, (p + 1) * page_tokens). Every rank of a group knows all
// owners; only the owner knows the slot.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/memory/kv_page_pool.h"

namespace longspan {

class PageTable {
 public:
  /// For the rank `self`, whose pages come from `pool`.
  PageTable(KvPagePool& pool, int self);

  /// The next page of the sequence belongs to world rank `owner`. Throws std::logic_error when it
  /// is this rank's and the pool is empty: pages are promised before work starts.
  void append(int owner);

  const std::vector<int>& owners() const { return owners_; }
  const std::vector<PageSlot>& slots() const { return lease_.slots(); }
  /// Distinct owners, ascending.
  std::vector<int> distinct_owners() const;

 private:
  int self_;
  std::vector<int> owners_;
  KvLease lease_;
};

}  // namespace longspan
