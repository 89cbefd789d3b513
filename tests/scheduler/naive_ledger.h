// What a page ledger has to do, with loops over everything instead of lists, indices and counts.
//
// It knows what every page holds: the tokens of its sequence up to where it is filled. References,
// prefixes, copies and what follows what are found by looking at all pages and requests. Only which
// free slot is taken is the real ledger's choice: it says so, and must then have taken a free one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/page_ref.h"
#include "tests/scheduler/ledger_script.h"

namespace longspan::test {

using Tokens = std::vector<int>;

struct NaivePage {
  PageState state = PageState::kFree;
  std::uint32_t generation = 0;
  Tokens tokens;  // of the sequence, up to the last one that is in this page
  bool indexed = false;
  bool of_move = false;
  bool awaits_drain = false;
  std::uint64_t last_used = 0;
};

struct NaiveRequest {
  Tokens prompt;
  Tokens tokens;  // computed
  std::int64_t worst_pages = 0;
  std::vector<PageRef> pages;
  std::optional<PageRef> tail;

  std::int64_t computed() const { return std::ssize(tokens); }
  std::int64_t promised() const { return worst_pages + (tail ? 1 : 0); }
};

struct NaiveMove {
  PageRef from;
  PageRef to;
  std::int64_t deadline_ns = 0;
  bool prepared = false;
};

/// A content that left memory, in a place of its owner's tier.
struct NaiveKept {
  int owner = 0;
  Tokens tokens;
  PageRef place;  // chosen by the real ledger
  int readers = 0;
  bool lost = false;  // there only for those who read it
  std::uint64_t last_used = 0;
};

class NaiveLedger {
 public:
  explicit NaiveLedger(const LedgerScript& script);

  // What the real one should answer.
  std::int64_t promised() const;
  std::int64_t pinned() const;
  std::int64_t left() const;  // of the promise
  std::int64_t most_ever() const { return slots_ - headroom_; }
  std::int64_t available(int owner) const;
  std::int64_t moving() const;  // pages that the headroom pays for
  int refs(PageRef page) const;
  int leases(PageRef page) const;
  bool is_source(PageRef page) const;
  std::vector<PageRef> hit(const Tokens& prompt, const std::vector<int>& prefer) const;
  std::int64_t open_pages(const NaiveRequest& request) const;
  bool may_move(PageRef page, int to) const;

  // Transitions.
  void start(std::int64_t id, const Tokens& prompt, std::int64_t worst_pages,
             const std::vector<PageRef>& pages);
  void fork(std::int64_t parent, std::int64_t child, std::int64_t worst_pages);
  void make_room(int owner);
  void granted(std::int64_t id, PageRef page);
  void take_back(std::int64_t id);
  /// `indexed`: the hashes of the pages that become full are told.
  void advance(std::int64_t id, const Tokens& more, bool indexed);
  void release(std::int64_t id);
  void reserve_move(std::int64_t move, PageRef from, PageRef to, std::int64_t deadline_ns);
  void commit(std::int64_t move, bool as_copy);
  void cancel(std::int64_t move);
  void drained(PageRef page);
  void lease(std::int64_t lease, PageRef page) { leases_[lease] = page; }
  void end_lease(std::int64_t lease);
  bool evict(int owner);
  void set_capacity(int owner, std::int64_t pages);
  /// Pages that were spilled since the last call, and what they hold; `places` are those that the
  /// real ledger gives them.
  std::vector<std::pair<PageRef, Tokens>> take_spilled(const std::vector<PageRef>& places);
  void read_tier(PageRef place);
  void end_read(PageRef place, bool good);
  bool lose(PageRef place);

  const NaivePage* find(PageRef page) const;
  std::map<std::int64_t, NaiveRequest>& requests() { return requests_; }
  std::map<std::int64_t, NaiveMove>& moves() { return moves_; }
  const std::map<std::int64_t, PageRef>& all_leases() const { return leases_; }
  const std::vector<std::vector<NaivePage>>& pages() const { return pages_; }
  const std::vector<NaiveKept>& kept() const { return kept_; }
  int owners() const { return static_cast<int>(pages_.size()); }
  std::int64_t capacity(int owner) const { return capacity_[owner]; }

 private:
  NaivePage& page(PageRef ref) { return pages_[ref.owner][ref.slot]; }
  const NaivePage& page(PageRef ref) const { return pages_[ref.owner][ref.slot]; }
  std::int64_t in_use(int owner) const;
  bool is_idle(PageRef page) const;
  bool is_indexed(const Tokens& tokens) const;
  std::optional<PageRef> first_to_go(int owner) const;
  void let_go(PageRef page);
  void vacate(PageRef page);
  void trim();
  void spill(PageRef page, const Tokens& tokens);
  std::vector<NaiveKept>::iterator kept_at(PageRef place);
  template <typename Visit>
  void for_all_pages(Visit visit) const;

  std::vector<std::vector<NaivePage>> pages_;  // by owner and slot
  std::vector<std::int64_t> capacity_;
  std::int64_t page_tokens_;
  std::int64_t headroom_;
  std::int64_t slots_ = 0;
  std::map<std::int64_t, NaiveRequest> requests_;
  std::map<std::int64_t, NaiveMove> moves_;
  std::map<std::int64_t, PageRef> leases_;
  std::vector<std::int64_t> places_;  // of the tier, by owner
  std::vector<NaiveKept> kept_;
  std::vector<std::pair<PageRef, Tokens>> spilled_;
  std::uint64_t uses_ = 0;
};

}  // namespace longspan::test
