// Plays a script to a page ledger and to the naive one, and compares everything after each event.
//
// Beside both stands the memory itself, of which neither knows: what was last written to each slot.
// A request, a cached page and a lease must find there what they think they have.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/page_ledger.h"
#include "tests/scheduler/ledger_script.h"
#include "tests/scheduler/naive_ledger.h"

namespace longspan::test {

class LedgerReplay {
 public:
  explicit LedgerReplay(const LedgerScript& script);

  /// What went wrong first; nothing when all is as it should be. After the last event everything
  /// ends, and every page must come back.
  std::optional<std::string> run();
  /// One line per event: what it came to mean.
  const std::vector<std::string>& told() const { return told_; }
  /// Events that came to nothing, because what they are about was not there.
  int idle_events() const { return idle_events_; }

 private:
  using Draws = std::array<int, 4>;

  void apply(const LedgerEvent& event);
  void start(const Draws& draws);
  void start_with(std::int64_t id, const Tokens& prompt, const Draws& draws);
  void fork(const Draws& draws);
  void promise(const Draws& draws);
  void grant(const Draws& draws);
  void grant_to(std::int64_t id, const std::vector<int>& owners);
  void take_back(const Draws& draws);
  void advance(const Draws& draws, bool one_token);
  void advance_by(std::int64_t id, const Tokens& more, bool with_hashes);
  void old_report(const Draws& draws);
  void release(const Draws& draws);
  void go_back(const Draws& draws);
  void move(const Draws& draws);
  void prepared(const Draws& draws);
  void commit(const Draws& draws, bool as_copy);
  void cancel(const Draws& draws);
  void pass_time(const Draws& draws);
  void drained(const Draws& draws);
  void lease(const Draws& draws);
  void end_lease(const Draws& draws);
  void evict(const Draws& draws);
  void set_capacity(const Draws& draws);
  void fetch(const Draws& draws);
  void fetched(const Draws& draws);
  void lose(const Draws& draws);
  void carry_out_spills();
  bool fetches(std::int64_t id) const;

  void wind_up();
  void compare();
  void compare_pages();
  void compare_requests();
  void compare_sums();
  void compare_tier();
  void check_memory();

  PageHash hash(const Tokens& tokens);
  std::vector<PageHash> hashes_of(const Tokens& tokens, std::int64_t from);
  std::vector<int> owners_from(int first) const;
  std::optional<std::int64_t> some_request(int draw);
  std::optional<std::int64_t> some_move(int draw);
  std::optional<PageRef> some_page(int draw, int how) const;
  Tokens& memory(PageRef page) { return memory_[page.owner][page.slot]; }
  void write(std::int64_t id, const Tokens& more);

  /// A page of a request that is to hold what a place of the tier keeps.
  struct Fetch {
    PageRef at;
    PageRef place;
    Tokens tokens;
  };
  struct Fetching {
    std::int64_t id = 0;
    std::vector<Fetch> pages;
  };

  template <typename Value>
  void same(const Value& ledger, const Value& model, const char* what) {
    if (!(ledger == model)) fail(std::string("the naive ledger has it otherwise: ") + what);
  }
  void fail(const std::string& what);
  void tell(const std::string& what) {
    if (!told_.empty()) told_.back() += " " + what;
  }

  const LedgerScript script_;
  PageLedger ledger_;
  NaiveLedger model_;
  std::vector<std::vector<Tokens>> memory_;
  std::map<std::int64_t, Tokens> leased_;  // what a lease found
  std::map<Tokens, PageHash> hashes_;
  std::map<PageRef, Tokens> tier_memory_;  // by place, without generations
  std::vector<Fetching> fetching_;
  std::vector<std::int64_t> all_moves_;   // those that are over too
  std::vector<std::int64_t> all_leases_;  // likewise
  std::int64_t last_request_ = 0;
  std::int64_t now_ns_ = 0;
  std::int64_t stale_ = 0;
  int idle_events_ = 0;
  std::vector<std::string> told_;
  std::optional<std::string> failure_;
};

}  // namespace longspan::test
