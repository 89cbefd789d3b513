#include "scheduler/page_ledger.h"

#include <algorithm>
#include <ranges>
#include <stdexcept>
#include <utility>

#include "scheduler/placement.h"

namespace longspan {

using enum PageState;

PageLedger::PageLedger(const LedgerOptions& options)
    : page_tokens_(options.page_tokens),
      headroom_(options.headroom),
      slots_(options.capacity),
      index_(slots_.owners()),
      tier_(options.tier),
      shared_(options.capacity.size()) {
  if (page_tokens_ < 1 || headroom_ < 0) throw std::logic_error("a page holds a token at least");
  slots_at_start_ = slots_.total_capacity();
}

// --- Requests

std::vector<PageRef> PageLedger::longest_hit(std::span<const PageHash> hashes,
                                             std::int64_t prompt_tokens,
                                             std::span<const int> prefer) const {
  const std::int64_t most = std::max<std::int64_t>(0, (prompt_tokens - 1) / page_tokens_);
  return index_.chain(hashes.first(std::min<std::size_t>(hashes.size(), most)), prefer);
}

StartAnswer PageLedger::start(const MemoryNeed& need, std::span<const PageHash> hashes,
                              std::span<const int> prefer) {
  if (need.prompt_tokens < 1 || need.worst_tokens < need.prompt_tokens) {
    throw std::logic_error("a request computes its prompt, of one token at least");
  }
  Request fresh{.worst_pages = pages_for(need.worst_tokens, page_tokens_)};
  fresh.pages = longest_hit(hashes, need.prompt_tokens, prefer);
  StartAnswer answer = promise_to(need.id, fresh.promised(), in_use(fresh.pages));
  if (answer.verdict != StartAnswer::Verdict::kStarted) return answer;
  for (const PageRef page : fresh.pages) refer(page);
  fresh.computed = answer.hit_tokens = std::ssize(fresh.pages) * page_tokens_;
  promised_ += fresh.promised();
  requests_.emplace(need.id, std::move(fresh));
  return answer;
}

StartAnswer PageLedger::fork(RequestId parent, RequestId child, std::int64_t worst_tokens) {
  const Request& from = request(parent);
  if (worst_tokens < from.computed) throw std::logic_error("a fork has all that it shares");
  const std::int64_t full = from.computed / page_tokens_;
  Request fresh{.worst_pages = pages_for(worst_tokens, page_tokens_), .computed = from.computed};
  fresh.pages.assign(from.pages.begin(), from.pages.begin() + full);
  if (full * page_tokens_ < from.computed) fresh.tail = from.tail ? *from.tail : from.pages[full];

  const std::int64_t shared = full + (fresh.tail ? 1 : 0);
  StartAnswer answer = promise_to(child, fresh.promised(), shared);
  if (answer.verdict != StartAnswer::Verdict::kStarted) return answer;
  for (const PageRef page : fresh.pages) refer(page);
  if (fresh.tail) refer(*fresh.tail);
  answer.hit_tokens = fresh.computed;
  promised_ += fresh.promised();
  requests_.emplace(child, std::move(fresh));
  return answer;
}

std::int64_t PageLedger::in_use(std::span<const PageRef> pages) const {
  return std::ranges::count_if(pages, [&](PageRef page) { return slots_.at(page).refs > 0; });
}

/// `shared`: of the pages, those that others have, to whom they are promised already.
StartAnswer PageLedger::promise_to(RequestId id, std::int64_t pages, std::int64_t shared) const {
  using enum StartAnswer::Verdict;
  if (runs(id)) throw std::logic_error("request " + std::to_string(id) + " has started already");
  StartAnswer answer{.worst_pages = pages, .pool = promise()};
  answer.pool_at_full_strength = slots_at_start_ - headroom_;
  if (pages > answer.pool_at_full_strength) {
    answer.verdict = kNever;
  } else {
    answer.verdict = answer.pool.fits(pages - shared) ? kStarted : kNotNow;
  }
  return answer;
}

bool PageLedger::try_promise(RequestId id, std::int64_t worst_tokens) {
  Request& of = request(id);
  const std::int64_t more = pages_for(worst_tokens, page_tokens_) - of.worst_pages;
  if (more <= 0) return true;
  if (!promise().fits(more)) return false;
  of.worst_pages += more;
  promised_ += more;
  return true;
}

std::int64_t PageLedger::Request::open_pages(std::int64_t page_tokens) const {
  return tail ? computed / page_tokens : pages_for(computed, page_tokens);
}

std::int64_t PageLedger::pages_missing(RequestId id, std::int64_t upto) const {
  const Request& of = request(id);
  const std::int64_t wanted = pages_to_grant(upto, of.worst_pages, page_tokens_);
  return std::max<std::int64_t>(0, wanted - std::ssize(of.pages));
}

bool PageLedger::runs_low(RequestId id) const {
  const Request& of = request(id);
  return std::ssize(of.pages) == of.open_pages(page_tokens_) &&
         std::ssize(of.pages) < of.worst_pages;
}

std::optional<Grant> PageLedger::try_grant(RequestId id, std::span<const int> owners) {
  Request& to = request(id);
  const std::int64_t number = std::ssize(to.pages);
  if (number >= to.worst_pages) {
    throw std::logic_error("request " + std::to_string(id) + " was promised " +
                           std::to_string(to.worst_pages) + " pages and has them");
  }
  for (const int owner : owners) {
    if (!make_room(owner)) continue;
    const PageRef page = slots_.take(owner);
    to.pages.push_back(page);
    if (!to.tail || number > to.computed / page_tokens_) return Grant{page, number};
    return Grant{page, number, to.tail, to.computed % page_tokens_};
  }
  return std::nullopt;
}

void PageLedger::take_back_grants(RequestId id) {
  Request& from = request(id);
  const std::int64_t open = from.open_pages(page_tokens_);
  for (; std::ssize(from.pages) > open; from.pages.pop_back()) vacate(from.pages.back());
}

bool PageLedger::advance(RequestId id, std::int64_t length, std::span<const PageHash> full) {
  Request& of = request(id);
  if (length <= of.computed) return false;
  if (length > std::ssize(of.pages) * page_tokens_) {
    throw std::logic_error("I3: request " + std::to_string(id) + " has computed " +
                           std::to_string(length) + " positions with " +
                           std::to_string(of.pages.size()) + " pages");
  }
  const std::int64_t first = of.computed / page_tokens_;
  if (!full.empty() && std::ssize(full) != length / page_tokens_ - first) {
    throw std::logic_error("a hash for each page that has become full, or none");
  }
  for (std::int64_t number = first; number * page_tokens_ < length; ++number) {
    open_page(of.pages[number], number, std::min(page_tokens_, length - number * page_tokens_));
  }
  of.computed = length;
  for (std::int64_t i = 0; i < std::ssize(full); ++i) index_full(of, first + i, full[i]);
  if (of.tail) {
    --promised_;
    let_go(*std::exchange(of.tail, std::nullopt));
    trim();
  }
  return true;
}

void PageLedger::open_page(PageRef page, std::int64_t number, std::int64_t filled) {
  slots_.update(page, [&](Page& opened) {
    if (opened.move != 0) throw std::logic_error("a page that is moving stays as it is");
    opened.state = kLive;
    opened.refs = std::max(opened.refs, 1);
    opened.number = static_cast<std::int32_t>(number);
    opened.filled = static_cast<std::int32_t>(filled);
  });
}

/// Beneath a private page nothing is indexed: a page's holders hold, with every indexed page, the
/// indexed ones before it, so that what is cached never has live pages beneath it.
void PageLedger::index_full(const Request& request, std::int64_t number, const PageHash& hash) {
  PageHash parent;
  if (number > 0) {
    const Page& before = slots_.at(request.pages[number - 1]);
    if (!before.indexed) return;
    parent = before.hash;
  }
  if (index_.contains(hash)) return;
  index_.add(hash, parent, request.pages[number]);
  slots_.update(request.pages[number], [&](Page& page) {
    page.indexed = true;
    page.hash = hash;
  });
}

void PageLedger::release(RequestId id) {
  Request& ended = request(id);
  promised_ -= ended.promised();
  take_back_grants(id);
  if (ended.tail) let_go(*ended.tail);
  // Last page first: what others build on is used later, and evicted later.
  for (const PageRef page : ended.pages | std::views::reverse) let_go(page);
  requests_.erase(id);
  trim();
}

PageLedger::Request& PageLedger::request(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) {
    throw std::logic_error("request " + std::to_string(id) + " has not started, or has ended");
  }
  return found->second;
}

const PageLedger::Request& PageLedger::request(RequestId id) const {
  return const_cast<PageLedger*>(this)->request(id);
}

// --- Pages

bool PageLedger::make_room(int owner) {
  if (available(owner) == 0) return false;
  while (slots_.room(owner) == 0) (void)evict(owner);
  return true;
}

void PageLedger::refer(PageRef page) {
  index_.set_busy(page);
  slots_.update(page, [](Page& referred) {
    referred.state = kLive;
    ++referred.refs;
  });
  const std::int32_t refs = slots_.at(page).refs;
  shared_again_ += refs > 1;
  shared_[page.owner] += refs == 2;
}

void PageLedger::let_go(PageRef page) {
  const std::int32_t refs = slots_.at(page).refs;
  shared_again_ -= refs > 1;
  shared_[page.owner] -= refs == 2;
  if (refs > 1) {
    slots_.update(page, [](Page& shared) { --shared.refs; });
  } else if (slots_.at(page).indexed) {
    slots_.update(page, [&](Page& cached) {
      cached.refs = 0;
      cached.state = kCached;
      cached.last_used = ++uses_;
    });
    set_idle(page);
  } else {
    vacate(page);
  }
}

/// Nobody refers to the page and nothing finds it: it is free, or retired while it is leased.
void PageLedger::vacate(PageRef page) {
  if (const MoveId move = slots_.at(page).move) cancel_move(move);
  slots_.update(page, [](Page& vacant) {
    vacant.refs = 0;
    vacant.indexed = false;
    vacant.state = vacant.leases > 0 ? kRetired : kFree;
  });
}

void PageLedger::free_when_unread(PageRef page) {
  const Page& left = slots_.at(page);
  if (left.awaits_drain || left.leases > 0) return;
  slots_.update(page, [](Page& unread) { unread.state = kFree; });
}

void PageLedger::set_idle(PageRef page) {
  const Page& cached = slots_.at(page);
  if (cached.leases == 0) index_.set_idle(cached.hash, page, cached.last_used);
}

// --- Leases

std::optional<LeaseId> PageLedger::try_lease(PageRef ref) {
  const Page* page = slots_.find(ref);
  if (!page || (page->state != kLive && page->state != kCached)) return std::nullopt;
  const bool pins = page->state == kCached && page->leases == 0;
  if (pins && !promise().fits(1)) return std::nullopt;
  index_.set_busy(ref);
  slots_.update(ref, [](Page& leased) { ++leased.leases; });
  leases_[++last_lease_] = ref;
  return last_lease_;
}

bool PageLedger::end_lease(LeaseId lease) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return stale();
  const PageRef page = found->second;
  leases_.erase(found);
  slots_.update(page, [](Page& leased) { --leased.leases; });
  if (slots_.at(page).state == kCached) set_idle(page);
  if (slots_.at(page).state == kRetired) free_when_unread(page);
  trim();
  return true;
}

bool PageLedger::stale() {
  ++stale_messages_;
  return false;
}

// --- Memory

bool PageLedger::evict(int owner) {
  const std::optional<PageRef> first = index_.first_to_go(owner);
  if (!first) return false;
  const std::vector<PageRef> gone = index_.remove(slots_.at(*first).hash, *first);
  for (const PageRef page : gone) {
    if (slots_.at(page).state != kCached) {
      throw std::logic_error("I6: " + in_words(page) + " is evicted while it is in use");
    }
  }
  spill(gone);
  for (const PageRef page : gone) vacate(page);
  return true;
}

void PageLedger::set_capacity(int owner, std::int64_t pages) {
  slots_.set_capacity(owner, pages);
  trim();
}

/// Where more is in use than the capacity nothing is idle, or it would have been evicted: room and
/// idle pages never hide each other.
void PageLedger::trim() {
  for (int owner = 0; owner < slots_.owners(); ++owner) {
    while (slots_.counts(owner).in_use() > slots_.capacity(owner) && evict(owner)) {
    }
  }
}

PoolPromise PageLedger::promise() const {
  return {.capacity = slots_.total_capacity(),
          .headroom = headroom_,
          .promised = promised_ - shared_again_,
          .pinned = slots_.total().pinned};
}

}  // namespace longspan
