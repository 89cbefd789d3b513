#include "runtime/memory/page_table.h"

#include <set>

#include "comm/error.h"

namespace longspan {

PageTable::PageTable(KvPagePool& pool, int self) : self_(self), lease_(pool.try_lease(0).value()) {}

void PageTable::append(int owner) {
  if (owner == self_) expects(lease_.try_extend(1), "a page that was promised is free");
  owners_.push_back(owner);
}

std::vector<int> PageTable::distinct_owners() const {
  const std::set<int> distinct(owners_.begin(), owners_.end());
  return {distinct.begin(), distinct.end()};
}

}  // namespace longspan
