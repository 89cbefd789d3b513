// The invariants of PageLedger, in full. What each page should say is counted from requests, moves
// and leases, then compared with what it says. And the pages as records, for others to check.
#include <algorithm>

#include "scheduler/page_ledger.h"
#include "scheduler/placement.h"

namespace longspan {
namespace {

using enum PageState;

using Violation = std::optional<std::string>;

/// Who names a page.
struct Named {
  int refs = 0;    // tables, for what is computed
  int grants = 0;  // tables, for what is not
  int leases = 0;
  int sources = 0;  // of moves
  int targets = 0;
};

}  // namespace

class PageLedger::Audit {
 public:
  explicit Audit(const PageLedger& ledger) : ledger_(ledger), shared_(ledger.slots_.owners()) {
    for (int owner = 0; owner < ledger.slots_.owners(); ++owner) {
      named_.emplace_back(ledger.slots_.slots(owner));
    }
  }

  Violation violation() {
    Violation found = ledger_.slots_.check();
    for (const auto& [id, request] : ledger_.requests_) {
      if (!found) found = of_request(id, request);
    }
    for (const auto& [id, move] : ledger_.moves_.all()) {
      if (!found) found = of_move(move);
    }
    for (const auto& [id, page] : ledger_.leases_) {
      if (!found) found = name(page, &Named::leases, "a lease");
    }
    if (!found) found = of_pages();
    if (!found) found = ledger_.index_.check();
    if (!found) found = of_sums();
    if (!found) found = ledger_.tier_.check();
    return found;
  }

 private:
  Violation name(PageRef page, int Named::* how, const std::string& who) {
    if (!ledger_.slots_.find(page))
      return "I3: " + who + " has " + in_words(page) + ", a stale one";
    ++(named_[page.owner][page.slot].*how);
    return std::nullopt;
  }

  Violation of_request(RequestId id, const Request& request) {
    const std::string who = "request " + std::to_string(id);
    const std::int64_t size = ledger_.page_tokens_, open = request.open_pages(size);
    if (open > std::ssize(request.pages) || std::ssize(request.pages) > request.worst_pages) {
      return "I3: " + who + " has " + std::to_string(request.pages.size()) + " pages, needs " +
             std::to_string(open) + " and may have " + std::to_string(request.worst_pages);
    }
    for (std::int64_t number = 0; number < std::ssize(request.pages); ++number) {
      const PageRef page = request.pages[number];
      if (auto bad = name(page, number < open ? &Named::refs : &Named::grants, who)) return bad;
      if (number >= open) continue;
      const std::int64_t needed = std::min(size, request.computed - number * size);
      if (auto bad = covers(page, number, needed, who)) return bad;
    }
    if (!request.tail) return std::nullopt;
    if (auto bad = name(*request.tail, &Named::refs, who)) return bad;
    return covers(*request.tail, open, request.computed - open * size, who);
  }

  Violation covers(PageRef ref, std::int64_t number, std::int64_t tokens, const std::string& who) {
    const Page& page = ledger_.slots_.at(ref);
    if (page.number == number && page.filled >= tokens) return std::nullopt;
    return "I3: " + who + " needs " + std::to_string(tokens) + " positions of its page " +
           std::to_string(number) + ", and " + in_words(ref) + " has " +
           std::to_string(page.filled) + " of page " + std::to_string(page.number);
  }

  Violation of_move(const PageInMotion& move) {
    const std::string who = "move " + std::to_string(move.id);
    if (auto bad = name(move.from, &Named::sources, who)) return bad;
    if (auto bad = name(move.to, &Named::targets, who)) return bad;
    if (ledger_.slots_.at(move.from).move == move.id) return std::nullopt;
    return "I1: the source of " + who + " does not know of it";
  }

  Violation of_pages() {
    for (int owner = 0; owner < ledger_.slots_.owners(); ++owner) {
      for (std::int32_t slot = 0; slot < std::ssize(named_[owner]); ++slot) {
        const PageRef page = ledger_.slots_.in_slot(owner, slot);
        if (auto bad = of_page(page, named_[owner][slot])) return bad;
      }
    }
    return std::nullopt;
  }

  Violation of_page(PageRef ref, const Named& named) {
    const Page* page = ledger_.slots_.find(ref);
    if (!page) return std::nullopt;  // free: whoever names it was found above
    if (page->refs != named.refs || page->leases != named.leases) {
      return "I1: " + in_words(ref) + " counts " + std::to_string(page->refs) + " references and " +
             std::to_string(page->leases) + " leases of " + std::to_string(named.refs) + " and " +
             std::to_string(named.leases);
    }
    again_ += std::max(0, named.refs - 1);
    shared_[ref.owner] += named.refs > 1;
    const int for_writing = named.grants + named.targets;
    if (for_writing > 1 || (for_writing == 1) != (page->state == kReserved)) {
      return "I1: " + in_words(ref) + " is " + name_of(page->state) + " and promised to " +
             std::to_string(for_writing);
    }
    if (named.sources != (page->move != 0 ? 1 : 0)) {
      return "I1: " + in_words(ref) + " is of a move that is over";
    }
    return of_cache(ref, *page);
  }

  Violation of_cache(PageRef ref, const Page& page) {
    if (page.state == kCached && !page.indexed) {
      return "I6: " + in_words(ref) + " is cached and cannot be found";
    }
    if (page.state == kRetired && page.leases == 0 && !page.awaits_drain) {
      return "I6: " + in_words(ref) + " is retired and nobody reads it";
    }
    const bool idle = page.state == kCached && page.leases == 0;
    if (ledger_.index_.is_idle(ref) != idle) {
      return in_words(ref) + " is " + name_of(page.state) + " and filed as something else";
    }
    if (!page.indexed) return std::nullopt;
    ++indexed_;
    if (page.filled != ledger_.page_tokens_)
      return "I6: " + in_words(ref) + " is indexed half full";
    const auto copies = ledger_.index_.pages(page.hash);
    if (std::ranges::find(copies, ref) == copies.end()) {
      return "I6: " + in_words(ref) + " is not where its hash says";
    }
    const PageHash parent = ledger_.index_.parent(page.hash);
    if (page.state != kLive || parent == PageHash()) return std::nullopt;
    const auto is_live = [&](PageRef copy) { return ledger_.slots_.at(copy).state == kLive; };
    if (std::ranges::any_of(ledger_.index_.pages(parent), is_live)) return std::nullopt;
    return "I6: the page before " + in_words(ref) + " may be evicted, and it with it";
  }

  Violation of_sums() const {
    if (indexed_ != ledger_.index_.size()) return "I6: the prefix index has pages that are gone";
    std::int64_t promised = 0;
    for (const auto& [id, request] : ledger_.requests_) promised += request.promised();
    if (promised != ledger_.promised_) return "I1: the promises do not add up";
    if (again_ != ledger_.shared_again_ || shared_ != ledger_.shared_) {
      return "I1: what is shared does not add up";
    }
    if (ledger_.slots_.total().of_moves > ledger_.headroom_) return "I2: moves exceed the headroom";
    return std::nullopt;
  }

  const PageLedger& ledger_;
  std::vector<std::vector<Named>> named_;  // by owner and slot
  std::int64_t indexed_ = 0;
  std::int64_t again_ = 0;
  std::vector<std::int64_t> shared_;  // by owner
};

std::optional<std::string> PageLedger::check() const { return Audit(*this).violation(); }

std::vector<PageRecord> PageLedger::pages_in_use() const {
  std::vector<PageRecord> records;
  for (int owner = 0; owner < slots_.owners(); ++owner) {
    for (std::int32_t slot = 0; slot < slots_.slots(owner); ++slot) {
      const PageRef at = slots_.in_slot(owner, slot);
      const Page* page = slots_.find(at);  // null for a free one
      if (!page) continue;
      records.push_back({at, page->state, page->refs, page->leases, page->filled, page->number});
    }
  }
  return records;
}

}  // namespace longspan
