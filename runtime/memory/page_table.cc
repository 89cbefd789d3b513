#include "runtime/memory/page_table.h"

#include <algorithm>
#include <utility>

#include "comm/error.h"

namespace longspan {

PageTable::PageTable(KvPagePool& pool, int self, KvPagePool* tails)
    : page_tokens_(pool.shape().page_tokens),
      self_(self),
      tails_(tails),
      lease_(pool.try_lease(0).value()) {}

void PageTable::promise(std::vector<int> owners) {
  expects(opened_ == 0, "owners are promised before pages are opened");
  owners_ = std::move(owners);
  if (!tails_) return;
  std::optional<KvLease> tail = tails_->try_lease(1);
  expects(tail.has_value(), "as many sequences run as were planned for");
  tail_ = std::move(*tail);
}

void PageTable::open(std::int64_t length) {
  const auto pages = static_cast<std::size_t>((length + page_tokens_ - 1) / page_tokens_);
  if (pages <= opened_) return;
  expects(pages <= owners_.size(), "every page that is opened has an owner");
  const auto own = std::count(owners_.begin() + opened_, owners_.begin() + pages, self_);
  expects(lease_.try_extend(static_cast<int>(own)), "pages that were promised are free");
  opened_ = pages;
}

KvLease PageTable::move(std::int64_t page, int to) {
  expects(page >= 0 && page < static_cast<std::int64_t>(opened_), "an open page");
  const int from = std::exchange(owners_[page], to);
  if (from == to) return {};
  if (to == self_) expects(lease_.try_insert(own_index(page)), "pages that were promised are free");
  return from == self_ ? lease_.remove(own_index(page)) : KvLease();
}

int PageTable::own_index(std::int64_t page) const {
  return static_cast<int>(std::count(owners_.begin(), owners_.begin() + page, self_));
}

}  // namespace longspan
