#include "tests/scheduler/naive_ledger.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace longspan::test {

using enum PageState;

NaiveLedger::NaiveLedger(const LedgerScript& script)
    : capacity_(script.capacity),
      page_tokens_(script.page_tokens),
      headroom_(script.headroom),
      places_(script.tier) {
  places_.resize(capacity_.size());
  for (const std::int64_t slots : script.capacity) {
    pages_.emplace_back(slots);
    slots_ += slots;
  }
}

template <typename Visit>
void NaiveLedger::for_all_pages(Visit visit) const {
  for (int owner = 0; owner < owners(); ++owner) {
    for (int slot = 0; slot < std::ssize(pages_[owner]); ++slot) {
      const NaivePage& page = pages_[owner][slot];
      visit(PageRef{owner, slot, page.generation}, page);
    }
  }
}

// --- What the real one should answer

std::int64_t NaiveLedger::promised() const {
  std::int64_t pages = 0;
  for (const auto& [id, request] : requests_) pages += request.promised();
  for_all_pages([&](PageRef ref, const NaivePage&) { pages -= std::max(0, refs(ref) - 1); });
  return pages;
}

std::int64_t NaiveLedger::pinned() const {
  std::int64_t pages = 0;
  for_all_pages([&](PageRef ref, const NaivePage& page) {
    const bool leased_cache = page.state == kCached && leases(ref) > 0;
    pages += leased_cache || (page.state == kRetired && !page.of_move);
  });
  return pages;
}

std::int64_t NaiveLedger::left() const {
  std::int64_t capacity = 0;
  for (const std::int64_t pages : capacity_) capacity += pages;
  return capacity - headroom_ - promised() - pinned();
}

std::int64_t NaiveLedger::in_use(int owner) const {
  return std::ranges::count_if(pages_[owner],
                               [](const NaivePage& page) { return page.state != kFree; });
}

std::int64_t NaiveLedger::available(int owner) const {
  std::int64_t kept = in_use(owner);
  for_all_pages([&](PageRef ref, const NaivePage&) { kept -= ref.owner == owner && is_idle(ref); });
  return std::max<std::int64_t>(0, capacity_[owner] - kept);
}

std::int64_t NaiveLedger::moving() const {
  std::int64_t pages = 0;
  for_all_pages([&](PageRef, const NaivePage& page) { pages += page.of_move; });
  return pages;
}

int NaiveLedger::refs(PageRef ref) const {
  std::int64_t refs = 0;
  for (const auto& [id, request] : requests_) {
    const auto open = request.pages.begin() + open_pages(request);
    refs += std::count(request.pages.begin(), open, ref);
    refs += request.tail == ref;
  }
  return static_cast<int>(refs);
}

int NaiveLedger::leases(PageRef ref) const {
  return static_cast<int>(
      std::ranges::count_if(leases_, [&](const auto& lease) { return lease.second == ref; }));
}

bool NaiveLedger::is_source(PageRef ref) const {
  return std::ranges::any_of(moves_, [&](const auto& move) { return move.second.from == ref; });
}

bool NaiveLedger::is_idle(PageRef ref) const {
  return page(ref).state == kCached && leases(ref) == 0;
}

bool NaiveLedger::is_indexed(const Tokens& tokens) const {
  bool found = false;
  for_all_pages([&](PageRef, const NaivePage& page) {
    found = found || (page.indexed && page.tokens == tokens);
  });
  return found;
}

std::vector<PageRef> NaiveLedger::hit(const Tokens& prompt, const std::vector<int>& prefer) const {
  std::vector<PageRef> chain;
  for (std::int64_t end = page_tokens_; end < std::ssize(prompt); end += page_tokens_) {
    const Tokens tokens(prompt.begin(), prompt.begin() + end);
    std::vector<PageRef> copies;
    for_all_pages([&](PageRef ref, const NaivePage& page) {
      if (page.indexed && page.tokens == tokens) copies.push_back(ref);
    });
    if (copies.empty()) break;
    const auto turn = [&](PageRef copy) { return std::ranges::find(prefer, copy.owner); };
    chain.push_back(*std::ranges::min_element(copies, {}, turn));
  }
  return chain;
}

std::int64_t NaiveLedger::open_pages(const NaiveRequest& request) const {
  const std::int64_t rounds_up = request.tail ? 0 : page_tokens_ - 1;
  return (request.computed() + rounds_up) / page_tokens_;
}

bool NaiveLedger::may_move(PageRef ref, int to) const {
  const NaivePage* source = find(ref);
  if (!source || (source->state != kLive && source->state != kCached)) return false;
  if (is_source(ref) || ref.owner == to) return false;
  bool is_there = false;
  for_all_pages([&](PageRef other, const NaivePage& copy) {
    is_there = is_there || (source->indexed && other.owner == to && copy.indexed &&
                            copy.tokens == source->tokens);
  });
  return !is_there;
}

const NaivePage* NaiveLedger::find(PageRef ref) const {
  if (ref.owner < 0 || ref.owner >= owners()) return nullptr;
  if (ref.slot < 0 || ref.slot >= std::ssize(pages_[ref.owner])) return nullptr;
  const NaivePage& found = page(ref);
  return found.state != kFree && found.generation == ref.generation ? &found : nullptr;
}

// --- Transitions

void NaiveLedger::start(std::int64_t id, const Tokens& prompt, std::int64_t worst_pages,
                        const std::vector<PageRef>& pages) {
  NaiveRequest& request = requests_[id];
  request = {.prompt = prompt, .worst_pages = worst_pages, .pages = pages};
  const std::int64_t hit = std::ssize(pages) * page_tokens_;
  request.tokens.assign(prompt.begin(), prompt.begin() + hit);
  for (const PageRef ref : pages) page(ref).state = kLive;
}

void NaiveLedger::fork(std::int64_t parent, std::int64_t child, std::int64_t worst_pages) {
  const NaiveRequest from = requests_.at(parent);
  const std::int64_t full = from.computed() / page_tokens_;
  NaiveRequest& request = requests_[child];
  request = {.prompt = from.tokens, .tokens = from.tokens, .worst_pages = worst_pages};
  request.pages.assign(from.pages.begin(), from.pages.begin() + full);
  if (from.computed() % page_tokens_ > 0) request.tail = from.tail ? from.tail : from.pages[full];
}

void NaiveLedger::make_room(int owner) {
  while (in_use(owner) >= capacity_[owner]) evict(owner);
}

void NaiveLedger::granted(std::int64_t id, PageRef ref) {
  page(ref).state = kReserved;
  requests_.at(id).pages.push_back(ref);
}

void NaiveLedger::take_back(std::int64_t id) {
  NaiveRequest& request = requests_.at(id);
  while (std::ssize(request.pages) > open_pages(request)) {
    vacate(request.pages.back());
    request.pages.pop_back();
  }
}

void NaiveLedger::advance(std::int64_t id, const Tokens& more, bool indexed) {
  NaiveRequest& request = requests_.at(id);
  const auto tail = std::exchange(request.tail, std::nullopt);
  const std::int64_t before = request.computed();
  request.tokens.insert(request.tokens.end(), more.begin(), more.end());
  bool chained = indexed;
  for (std::int64_t number = 0; number * page_tokens_ < request.computed(); ++number) {
    NaivePage& written = page(request.pages[number]);
    const std::int64_t end = (number + 1) * page_tokens_;
    if (end > before) {
      written.state = kLive;
      const auto length = std::min(end, request.computed());
      written.tokens.assign(request.tokens.begin(), request.tokens.begin() + length);
      // The first with its content, after one that is indexed itself.
      written.indexed = chained && end <= request.computed() && !is_indexed(written.tokens);
    }
    chained = chained && written.indexed;
  }
  if (tail) let_go(*tail);
  trim();
}

void NaiveLedger::release(std::int64_t id) {
  take_back(id);
  const NaiveRequest ended = requests_.at(id);
  requests_.erase(id);
  if (ended.tail) let_go(*ended.tail);
  for (auto ref = ended.pages.rbegin(); ref != ended.pages.rend(); ++ref) let_go(*ref);
  trim();
}

void NaiveLedger::let_go(PageRef ref) {
  if (refs(ref) > 0) return;
  if (!page(ref).indexed) return vacate(ref);
  page(ref).state = kCached;
  page(ref).last_used = ++uses_;
}

void NaiveLedger::vacate(PageRef ref) {
  for (const auto& [id, move] : std::map(moves_)) {
    if (move.from == ref) cancel(id);
  }
  NaivePage& vacant = page(ref);
  vacant.indexed = false;
  if (leases(ref) > 0) {
    vacant.state = kRetired;
  } else {
    vacant = {.generation = vacant.generation + 1};
  }
}

void NaiveLedger::reserve_move(std::int64_t move, PageRef from, PageRef to,
                               std::int64_t deadline_ns) {
  page(to).state = kReserved;
  page(to).of_move = true;
  moves_[move] = {from, to, deadline_ns};
}

void NaiveLedger::commit(std::int64_t id, bool as_copy) {
  const NaiveMove move = moves_.at(id);
  moves_.erase(id);
  NaivePage& source = page(move.from);
  NaivePage& target = page(move.to);
  const std::uint32_t generation = target.generation;
  target = source;
  target.generation = generation;
  if (as_copy) {
    target.state = kCached;
    target.last_used = ++uses_;
  } else {
    source.state = kRetired;
    source.indexed = false;
    source.of_move = source.awaits_drain = true;
    for (auto& [holder, request] : requests_) {
      std::ranges::replace(request.pages, move.from, move.to);
      if (request.tail == move.from) request.tail = move.to;
    }
  }
  trim();
}

void NaiveLedger::cancel(std::int64_t move) {
  const PageRef target = moves_.at(move).to;
  moves_.erase(move);
  vacate(target);
}

void NaiveLedger::drained(PageRef ref) {
  page(ref).awaits_drain = false;
  if (leases(ref) == 0) vacate(ref);
}

void NaiveLedger::end_lease(std::int64_t lease) {
  const PageRef ref = leases_.at(lease);
  leases_.erase(lease);
  const NaivePage& read = page(ref);
  if (read.state == kRetired && !read.awaits_drain && leases(ref) == 0) vacate(ref);
  trim();
}

std::optional<PageRef> NaiveLedger::first_to_go(int owner) const {
  std::optional<PageRef> first;
  std::tuple<int, std::uint64_t> least;
  for_all_pages([&](PageRef ref, const NaivePage& page) {
    if (ref.owner != owner || !is_idle(ref)) return;
    int copies = 0, children = 0;
    for_all_pages([&](PageRef, const NaivePage& other) {
      if (!other.indexed) return;
      copies += other.tokens == page.tokens;
      const bool next = std::ssize(other.tokens) == std::ssize(page.tokens) + page_tokens_;
      children += next && std::equal(page.tokens.begin(), page.tokens.end(), other.tokens.begin());
    });
    const std::tuple rank{copies > 1 ? 0 : children == 0 ? 1 : 2, page.last_used};
    if (!first || rank < least) {
      first = ref;
      least = rank;
    }
  });
  return first;
}

bool NaiveLedger::evict(int owner) {
  const auto first = first_to_go(owner);
  if (!first) return false;
  std::vector<std::pair<PageRef, Tokens>> gone;
  const auto leave = [&](PageRef ref) {
    gone.emplace_back(ref, page(ref).tokens);
    vacate(ref);
  };
  leave(*first);
  // What cannot be found any more follows, until nothing more does.
  for (bool again = true; again;) {
    again = false;
    for_all_pages([&](PageRef ref, const NaivePage& orphan) {
      if (!orphan.indexed || std::ssize(orphan.tokens) == page_tokens_) return;
      if (is_indexed(Tokens(orphan.tokens.begin(), orphan.tokens.end() - page_tokens_))) return;
      leave(ref);
      again = true;
    });
  }
  std::ranges::sort(
      gone, {}, [](const auto& page) { return std::tuple(-std::ssize(page.second), page.first); });
  for (const auto& [ref, tokens] : gone) spill(ref, tokens);
  return true;
}

// --- The tier

void NaiveLedger::spill(PageRef ref, const Tokens& tokens) {
  if (is_indexed(tokens)) return;
  for (NaiveKept& kept : kept_) {
    if (kept.lost || kept.tokens != tokens) continue;
    kept.last_used = ++uses_;
    return;
  }
  const auto of_owner = [&](const NaiveKept& kept) { return kept.owner == ref.owner; };
  if (std::ranges::count_if(kept_, of_owner) >= places_[ref.owner]) {
    auto oldest = kept_.end();
    for (auto kept = kept_.begin(); kept != kept_.end(); ++kept) {
      if (!of_owner(*kept) || kept->readers > 0) continue;
      if (oldest == kept_.end() || kept->last_used < oldest->last_used) oldest = kept;
    }
    if (oldest == kept_.end()) return;
    kept_.erase(oldest);
  }
  kept_.push_back({.owner = ref.owner, .tokens = tokens, .last_used = ++uses_});
  spilled_.emplace_back(ref, tokens);
}

std::vector<std::pair<PageRef, Tokens>> NaiveLedger::take_spilled(
    const std::vector<PageRef>& places) {
  for (std::size_t i = 0; i < std::min(places.size(), spilled_.size()); ++i) {
    for (NaiveKept& kept : kept_) {
      if (!kept.lost && kept.tokens == spilled_[i].second) kept.place = places[i];
    }
  }
  return std::exchange(spilled_, {});
}

std::vector<NaiveKept>::iterator NaiveLedger::kept_at(PageRef place) {
  return std::ranges::find(kept_, place, &NaiveKept::place);
}

void NaiveLedger::read_tier(PageRef place) { ++kept_at(place)->readers; }

void NaiveLedger::end_read(PageRef place, bool good) {
  const auto kept = kept_at(place);
  kept->lost |= !good;
  if (--kept->readers == 0 && kept->lost) kept_.erase(kept);
}

bool NaiveLedger::lose(PageRef place) {
  const auto kept = kept_at(place);
  if (kept == kept_.end() || kept->lost) return false;
  kept->lost = true;
  if (kept->readers == 0) kept_.erase(kept);
  return true;
}

void NaiveLedger::set_capacity(int owner, std::int64_t pages) {
  capacity_[owner] = pages;
  trim();
}

void NaiveLedger::trim() {
  for (int owner = 0; owner < owners(); ++owner) {
    while (in_use(owner) > capacity_[owner] && evict(owner)) {
    }
  }
}

}  // namespace longspan::test
