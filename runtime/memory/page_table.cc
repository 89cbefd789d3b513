#include "runtime/memory/page_table.h"

#include <algorithm>
#include <utility>

#include "comm/error.h"

namespace longspan {

PageTable::PageTable(KvPagePool& pool, int self, KvPagePool* tails)
    : page_tokens_(pool.shape().page_tokens), self_(self), tails_(tails), lease_(pool.lease()) {}

void PageTable::promise(std::vector<int> owners, std::int64_t first) {
  expects(first >= static_cast<std::int64_t>(opened_) && first > last_placed_,
          "pages that are there keep their owners");
  expects(first <= std::ssize(owners_), "every page has an owner");
  owners_.resize(static_cast<std::size_t>(first));
  owners_.insert(owners_.end(), owners.begin(), owners.end());
  if (!tails_ || !tail_.slots().empty()) return;
  const std::optional<PageContents> tail = tails_->unused();
  expects(tail.has_value(), "as many sequences run as were planned for");
  tail_ = tails_->lease();
  tail_.claim(0, *tail);
}

void PageTable::fork(const PageTable& parent, std::vector<int> owners, std::int64_t length) {
  promise(std::move(owners));
  const std::int64_t full = length / page_tokens_;
  const int own = parent.own_index(full);
  lease_ = parent.lease_.share(0, own);
  opened_ = static_cast<std::size_t>(full);
  own_opened_ = own;
  last_placed_ = full - 1;
}

void PageTable::place(std::int64_t page, PageContents at, bool filled) {
  expects(page > last_placed_, "pages are placed in order");
  expects(!promised() || owners_.at(page) == self_, "a rank has the pages that it owns");
  if (filled) {
    lease_.join(at);
  } else {
    lease_.claim(static_cast<int>(std::ssize(lease_.slots())), at);
  }
  last_placed_ = page;
}

void PageTable::open(std::int64_t length) {
  const auto pages = static_cast<std::size_t>((length + page_tokens_ - 1) / page_tokens_);
  if (pages <= opened_) return;
  expects(pages <= owners_.size(), "every page that is opened has an owner");
  own_opened_ += std::count(owners_.begin() + opened_, owners_.begin() + pages, self_);
  expects(own_opened_ <= std::ssize(lease_.slots()), "who owns an open page was told where it is");
  opened_ = pages;
}

KvLease PageTable::move(std::int64_t page, int to, PageContents at) {
  expects(page >= 0 && page < static_cast<std::int64_t>(opened_), "an open page");
  const int from = std::exchange(owners_[page], to);
  if (from == to) return {};
  if (to == self_) {
    lease_.claim(own_index(page), at);
    ++own_opened_;
  }
  if (from != self_) return {};
  --own_opened_;
  return lease_.remove(own_index(page));
}

int PageTable::own_index(std::int64_t page) const {
  return static_cast<int>(std::count(owners_.begin(), owners_.begin() + page, self_));
}

}  // namespace longspan
