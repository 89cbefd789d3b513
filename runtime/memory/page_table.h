// Which rank owns each page of one sequence, and this rank's own pages of it.
//
// Page p holds positions [p * page_tokens, (p + 1) * page_tokens). Every rank of a group knows all
// owners; only the owner knows the slot. Owners are promised for every page the sequence can ever
// need; a page is opened, with all, when the sequence reaches it, and placed, with its owner, by
// then.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/memory/kv_page_pool.h"

namespace longspan {

class PageTable {
 public:
  /// For the rank `self`, whose pages come from `pool`; where they fill elsewhere, the one that is
  /// not full fills in a page of `tails`, which the sequence has from promise() on.
  PageTable(KvPagePool& pool, int self, KvPagePool* tails = nullptr);

  /// Says who (world rank) owns each page from `first` on: before the first page is opened of all,
  /// later of those that are not open anywhere. Throws std::logic_error when this rank has one of
  /// them, or no tail is free.
  void promise(std::vector<int> owners, std::int64_t first = 0);
  /// What there is of `parent`, of which positions [0, length) are computed, is this sequence's
  /// too: its full pages are open here, and `owners` say as promise() does who owns each page, the
  /// same as of the parent as far as it has got. Before anything else is asked of it.
  void fork(const PageTable& parent, std::vector<int> owners, std::int64_t length);
  /// Of this rank's pages of it: `page`, which is open, once more.
  KvLease share(std::int64_t page) const { return lease_.share(own_index(page), 1); }
  /// The same of its page of `tails`.
  KvLease share_tail() const { return tail_.share(0, static_cast<int>(tail_.slots().size())); }
  /// This rank's next page, `page` of the sequence, is `at`: to be written, or `filled` by another
  /// sequence. Throws std::logic_error where it cannot be: KvLease::claim(), KvLease::join().
  void place(std::int64_t page, PageContents at, bool filled = false);
  /// Opens the pages that positions [0, length) need and are not open yet. Throws std::logic_error
  /// when no owner was promised, or this rank owns one that was not placed.
  void open(std::int64_t length);

  /// Open page `page` belongs to rank `to` from now on. If that is this rank, it lies `at` there;
  /// if this rank had it, the lease of it is returned, to be dropped when its contents have left.
  /// Throws std::logic_error as place() does.
  [[nodiscard]] KvLease move(std::int64_t page, int to, PageContents at);

  /// Whether owners were promised: else this rank has had no part in the sequence.
  bool promised() const { return !owners_.empty(); }
  /// Where this rank keeps open page `page`, which it owns.
  PageSlot slot(std::int64_t page) const { return lease_.slots().at(own_index(page)); }
  /// The sequence's page of `tails`; 0 without.
  PageSlot tail() const { return tail_.slots().empty() ? 0 : tail_.slots().front(); }
  /// Of the open pages.
  std::span<const int> owners() const { return std::span(owners_).first(opened_); }
  /// Of the open pages that this rank owns, in page order.
  std::span<const PageSlot> slots() const { return std::span(lease_.slots()).first(own_opened_); }

 private:
  /// How many pages before `page` are this rank's.
  int own_index(std::int64_t page) const;

  std::int64_t page_tokens_;
  int self_;
  KvPagePool* tails_;
  std::vector<int> owners_;
  std::size_t opened_ = 0;
  std::int64_t own_opened_ = 0;
  std::int64_t last_placed_ = -1;
  KvLease lease_;
  KvLease tail_;
};

}  // namespace longspan
