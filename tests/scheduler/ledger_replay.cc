#include "tests/scheduler/ledger_replay.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <numeric>

#include "scheduler/placement.h"

namespace longspan::test {
namespace {

using enum PageState;
using Verdict = StartAnswer::Verdict;

std::string id_of(std::int64_t id) { return std::to_string(id); }

}  // namespace

LedgerReplay::LedgerReplay(const LedgerScript& script)
    : script_(script),
      ledger_({script.capacity, script.page_tokens, script.headroom, script.tier}),
      model_(script) {
  for (const std::int64_t slots : script.capacity) memory_.emplace_back(slots);
}

std::optional<std::string> LedgerReplay::run() {
  for (const LedgerEvent& event : script_.events) {
    told_.emplace_back(name_of(event.kind));
    try {
      apply(event);
      compare();
    } catch (const std::exception& error) {
      fail(error.what());
    }
    if (failure_) break;
    idle_events_ += told_.back() == name_of(event.kind);
  }
  if (!failure_) wind_up();
  return failure_;
}

/// Requests and leases end, moves come to their deadline or are cancelled, plans are acknowledged.
void LedgerReplay::wind_up() {
  while (!fetching_.empty()) fetched({0, 1, 0, 0});
  while (!model_.requests().empty()) release({0, 0, 0, 0});
  while (!model_.all_leases().empty()) end_lease({0, 0, 0, 0});
  now_ns_ += 1000;
  pass_time({0, 0, 0, 0});
  while (!model_.moves().empty()) cancel({0, 0, 0, 0});
  compare();
  for (int owner = 0; owner < model_.owners(); ++owner) {
    for (int slot = 0; slot < std::ssize(model_.pages()[owner]); ++slot) {
      const NaivePage& page = model_.pages()[owner][slot];
      if (page.awaits_drain) (void)ledger_.drained({owner, slot, page.generation});
    }
    while (ledger_.evict(owner)) {
    }
  }
  for (int owner = 0; owner < model_.owners(); ++owner) {
    same<std::int64_t>(ledger_.counts(owner).in_use(), 0, "what is in use when all is over");
  }
  same<std::int64_t>(ledger_.promise().promised, 0, "what is promised when all is over");
}

void LedgerReplay::apply(const LedgerEvent& event) {
  using enum LedgerEventKind;
  const Draws& draws = event.draws;
  switch (event.kind) {
    case kStart:
      return start(draws);
    case kFork:
      return fork(draws);
    case kPromise:
      return promise(draws);
    case kGrant:
      return grant(draws);
    case kTakeBack:
      return take_back(draws);
    case kAdvance:
      return advance(draws, false);
    case kToken:
      return advance(draws, true);
    case kOldReport:
      return old_report(draws);
    case kRelease:
      return release(draws);
    case kGoBack:
      return go_back(draws);
    case kMove:
      return move(draws);
    case kPrepared:
      return prepared(draws);
    case kCommitMove:
      return commit(draws, false);
    case kCommitCopy:
      return commit(draws, true);
    case kCancel:
      return cancel(draws);
    case kTime:
      return pass_time(draws);
    case kDrained:
      return drained(draws);
    case kLease:
      return lease(draws);
    case kEndLease:
      return end_lease(draws);
    case kEvict:
      return evict(draws);
    case kCapacity:
      return set_capacity(draws);
    case kFetch:
      return fetch(draws);
    case kFetched:
      return fetched(draws);
    case kLose:
      return lose(draws);
  }
}

// --- Requests

void LedgerReplay::start(const Draws& draws) {
  const std::int64_t page = script_.page_tokens;
  Tokens prompt(1 + draws[0] % (2 * page + 3));
  // Prompts begin alike and part somewhere, or never.
  const std::int64_t parting = draws[1] / 2 % (2 * std::ssize(prompt));
  for (std::int64_t i = parting; i < std::ssize(prompt); ++i) prompt[i] = 1 + draws[1] % 2;
  start_with(++last_request_, prompt, draws);
}

void LedgerReplay::start_with(std::int64_t id, const Tokens& prompt, const Draws& draws) {
  const std::int64_t page = script_.page_tokens;
  const std::int64_t worst = std::ssize(prompt) + draws[2] % (2 * page + 1);
  const std::int64_t pages = pages_for(worst, page);
  const bool hashed = draws[3] % 4 != 3;
  const auto hashes = hashed ? hashes_of(prompt, 0) : std::vector<PageHash>();
  const std::vector<int> prefer = owners_from(draws[3] / 4);
  const auto hit = hashed ? model_.hit(prompt, prefer) : std::vector<PageRef>();

  const auto shared =
      std::ranges::count_if(hit, [&](PageRef found) { return model_.refs(found) > 0; });
  Verdict verdict = pages - shared <= model_.left() ? Verdict::kStarted : Verdict::kNotNow;
  if (pages > model_.most_ever()) verdict = Verdict::kNever;
  same(ledger_.longest_hit(hashes, std::ssize(prompt), prefer), hit, "longest_hit()");
  const StartAnswer answer = ledger_.start({id, std::ssize(prompt), worst}, hashes, prefer);
  same(answer.verdict, verdict, "the verdict on a start");
  same(answer.worst_pages, pages, "worst pages");
  tell(id_of(id) + ": prompt of " + id_of(std::ssize(prompt)) + ", worst " + id_of(worst) +
       (verdict == Verdict::kStarted ? ", hit " + id_of(answer.hit_tokens) : ", refused"));
  if (verdict == Verdict::kStarted) model_.start(id, prompt, pages, hit);
}

void LedgerReplay::fork(const Draws& draws) {
  const auto parent = some_request(draws[0]);
  if (!parent) return;
  const NaiveRequest& from = model_.requests().at(*parent);
  const std::int64_t page = script_.page_tokens, id = ++last_request_;
  const std::int64_t worst = from.computed() + draws[1] % (2 * page + 1);
  const std::int64_t pages = pages_for(worst, page);
  const std::int64_t promised = pages + (from.computed() % page > 0 ? 1 : 0);
  const std::int64_t own = pages - from.computed() / page;
  Verdict verdict = own <= model_.left() ? Verdict::kStarted : Verdict::kNotNow;
  if (promised > model_.most_ever()) verdict = Verdict::kNever;
  same(ledger_.fork(*parent, id, worst).verdict, verdict, "the verdict on a fork");
  tell(id_of(id) + " of " + id_of(*parent) + ", worst " + id_of(worst));
  if (verdict == Verdict::kStarted) model_.fork(*parent, id, pages);
}

void LedgerReplay::promise(const Draws& draws) {
  const auto id = some_request(draws[0]);
  if (!id) return;
  NaiveRequest& request = model_.requests().at(*id);
  const std::int64_t pages = request.worst_pages + draws[1] % 4 - 1;
  const bool fits = pages <= request.worst_pages || pages - request.worst_pages <= model_.left();
  same(ledger_.try_promise(*id, pages * script_.page_tokens), fits, "whether more is promised");
  if (fits) request.worst_pages = std::max(request.worst_pages, pages);
  tell(id_of(*id) + ": " + id_of(pages) + " pages");
}

void LedgerReplay::grant(const Draws& draws) {
  const auto id = some_request(draws[0]);
  if (!id) return;
  const NaiveRequest& request = model_.requests().at(*id);
  if (std::ssize(request.pages) == request.worst_pages) return tell("has its worst case");
  std::vector<int> owners = owners_from(draws[1]);
  if (draws[2] % 4 == 3) owners.pop_back();
  grant_to(*id, owners);
}

void LedgerReplay::grant_to(std::int64_t id, const std::vector<int>& owners) {
  const auto first =
      std::ranges::find_if(owners, [&](int owner) { return model_.available(owner) > 0; });
  if (first == owners.end() && model_.left() >= 0 && std::ssize(owners) == model_.owners()) {
    fail("memory that was promised is not there");
  }
  if (first != owners.end()) model_.make_room(*first);
  const auto granted = ledger_.try_grant(id, owners);
  same(granted.has_value(), first != owners.end(), "whether a page is granted");
  if (!granted) return;
  const NaiveRequest& request = model_.requests().at(id);
  same(granted->page.owner, *first, "the owner of a granted page");
  same(granted->number, std::ssize(request.pages), "the number of a granted page");
  const bool copies = request.tail && model_.open_pages(request) == granted->number;
  same(granted->copy_from, copies ? request.tail : std::nullopt, "what a grant copies");
  same(model_.find(granted->page) == nullptr, true, "that a granted page was free");
  model_.granted(id, granted->page);
  carry_out_spills();
  tell(id_of(id) + ": " + in_words(granted->page));
}

void LedgerReplay::take_back(const Draws& draws) {
  const auto id = some_request(draws[0]);
  if (!id) return;
  ledger_.take_back_grants(*id);
  model_.take_back(*id);
  tell(id_of(*id));
}

void LedgerReplay::advance(const Draws& draws, bool one_token) {
  const auto id = some_request(draws[0]);
  if (!id) return;
  if (fetches(*id)) return;
  const NaiveRequest& request = model_.requests().at(*id);
  const std::int64_t page = script_.page_tokens;
  const auto room = [&] { return std::ssize(request.pages) * page - request.computed(); };
  const bool more = std::ssize(request.pages) < request.worst_pages;
  if (one_token && room() <= 0 && more) grant_to(*id, owners_from(draws[3]));
  if (room() <= 0) return tell("without a page");
  const bool writes_on = request.computed() % page > 0 && !request.tail;
  if (writes_on && model_.is_source(request.pages[request.computed() / page])) return;
  Tokens tokens(one_token ? 1 : 1 + draws[1] % room());
  for (std::int64_t i = 0; i < std::ssize(tokens); ++i) {
    const std::int64_t at = request.computed() + i;
    tokens[i] = at < std::ssize(request.prompt) ? request.prompt[at] : draws[2] >> i % 8 & 1;
  }
  advance_by(*id, tokens, draws[3] % 8 != 7);
}

void LedgerReplay::advance_by(std::int64_t id, const Tokens& more, bool with_hashes) {
  const NaiveRequest& request = model_.requests().at(id);
  Tokens after = request.tokens;
  after.insert(after.end(), more.begin(), more.end());
  const auto full = with_hashes ? hashes_of(after, request.computed() / script_.page_tokens)
                                : std::vector<PageHash>();
  write(id, more);
  same(ledger_.advance(id, std::ssize(after), full), true, "that positions were news");
  model_.advance(id, more, with_hashes);
  tell(id_of(id) + " to " + id_of(std::ssize(after)) + (with_hashes ? "" : ", unnamed"));
}

/// What the ranks do: KV of a position follows from what is read of those before it.
void LedgerReplay::write(std::int64_t id, const Tokens& more) {
  const NaiveRequest& request = model_.requests().at(id);
  const std::int64_t page = script_.page_tokens;
  std::int64_t at = request.computed();
  for (const int token : more) {
    const std::int64_t number = at / page;
    Tokens& target = memory(request.pages[number]);
    if (at % page == 0) {
      target = number == 0 ? Tokens() : memory(request.pages[number - 1]);
    } else if (at == request.computed()) {
      target = memory(request.tail.value_or(request.pages[number]));
    }
    target.resize(at++);
    target.push_back(token);
  }
}

void LedgerReplay::old_report(const Draws& draws) {
  const auto id = some_request(draws[0]);
  if (!id) return;
  const std::int64_t length = draws[1] % (model_.requests().at(*id).computed() + 1);
  same(ledger_.advance(*id, length), false, "that an old report is no news");
  tell(id_of(*id) + " to " + id_of(length));
}

void LedgerReplay::release(const Draws& draws) {
  const auto id = some_request(draws[0]);
  if (!id) return;
  ledger_.release(*id);
  model_.release(*id);
  tell(id_of(*id));
}

/// It waits again, and starts with what it had computed as its prompt if there is room.
void LedgerReplay::go_back(const Draws& draws) {
  const auto id = some_request(draws[0]);
  if (!id) return;
  const Tokens computed = model_.requests().at(*id).tokens;
  release(draws);
  if (!computed.empty()) start_with(*id, computed, draws);
}

// --- Moves

void LedgerReplay::move(const Draws& draws) {
  const auto from = some_page(draws[0], draws[1]);
  if (!from) return;
  const int to = draws[3] % model_.owners();
  const std::int64_t deadline = now_ns_ + 1 + draws[2] / 8 % 5;
  bool moves =
      model_.may_move(*from, to) && model_.moving() < script_.headroom && model_.available(to) > 0;
  if (moves) model_.make_room(to);
  moves = moves && model_.may_move(*from, to);
  const auto move = ledger_.try_move(*from, to, deadline);
  same(move.has_value(), moves, "whether a page may move");
  if (!move) return tell(in_words(*from) + ": refused");
  same(move->to.owner, to, "the target of a move");
  same(model_.find(move->to) == nullptr, true, "that the target was free");
  model_.reserve_move(move->id, *from, move->to, deadline);
  all_moves_.push_back(move->id);
  tell(id_of(move->id) + ": " + in_words(*from) + " to " + in_words(move->to));
}

void LedgerReplay::prepared(const Draws& draws) {
  const auto id = some_move(draws[0]);
  if (!id) return;
  const bool is_open = model_.moves().contains(*id);
  PageRef to = is_open ? model_.moves().at(*id).to : PageRef{0, 0, 0};
  const bool wrong = !is_open || draws[1] % 8 == 7;
  if (wrong) ++to.generation;
  same(ledger_.prepared(*id, to), !wrong, "whether an acknowledgement is taken");
  tell(id_of(*id) + (wrong ? ", stale" : ""));
  if (wrong) {
    ++stale_;
  } else {
    NaiveMove& move = model_.moves().at(*id);
    move.prepared = true;
    memory(move.to) = memory(move.from);
  }
}

void LedgerReplay::commit(const Draws& draws, bool as_copy) {
  const auto id = some_move(draws[0]);
  if (!id) return;
  bool moves = model_.moves().contains(*id) && model_.moves().at(*id).prepared;
  if (moves) {
    const NaiveMove move = model_.moves().at(*id);
    const bool indexed = model_.find(move.from)->indexed;
    if (as_copy && !indexed) return tell("of a private page");
    model_.moves().erase(*id);  // a page that moves may not move
    moves = model_.may_move(move.from, move.to.owner);
    model_.moves()[*id] = move;
    if (!moves) model_.cancel(*id);
  }
  if (moves) model_.commit(*id, as_copy);
  const bool done = as_copy ? ledger_.commit_copy(*id) : ledger_.commit_move(*id);
  same(done, moves, "whether a move is committed");
  tell(id_of(*id) + (moves ? "" : ", refused"));
}

void LedgerReplay::cancel(const Draws& draws) {
  const auto id = some_move(draws[0]);
  if (!id) return;
  const bool is_open = model_.moves().contains(*id);
  if (is_open) model_.cancel(*id);
  same(ledger_.cancel_move(*id), is_open, "whether there was a move to cancel");
  tell(id_of(*id));
}

void LedgerReplay::pass_time(const Draws& draws) {
  now_ns_ += 1 + draws[0] % 5;
  std::vector<MoveId> late;
  for (const auto& [id, move] : model_.moves()) {
    if (!move.prepared && move.deadline_ns <= now_ns_) late.push_back(id);
  }
  for (const MoveId id : late) model_.cancel(id);
  same(ledger_.cancel_late_moves(now_ns_), late, "which moves are late");
  tell(id_of(now_ns_));
}

void LedgerReplay::drained(const Draws& draws) {
  std::vector<PageRef> awaited;
  for (int owner = 0; owner < model_.owners(); ++owner) {
    for (int slot = 0; slot < std::ssize(model_.pages()[owner]); ++slot) {
      const NaivePage& page = model_.pages()[owner][slot];
      if (page.awaits_drain) awaited.push_back({owner, slot, page.generation});
    }
  }
  const bool stale = awaited.empty() || draws[1] % 8 == 7;
  const auto page = stale ? some_page(draws[0], draws[2]) : awaited[draws[0] % awaited.size()];
  if (!page) return;
  const NaivePage* found = model_.find(*page);
  const bool awaits = found && found->awaits_drain;
  if (awaits) {
    model_.drained(*page);
  } else {
    ++stale_;
  }
  same(ledger_.drained(*page), awaits, "whether a page was waited for");
  tell(in_words(*page));
}

// --- Leases and memory

void LedgerReplay::lease(const Draws& draws) {
  const auto page = some_page(draws[0], draws[1]);
  if (!page) return;
  const NaivePage* found = model_.find(*page);
  bool leases = found && (found->state == kLive || found->state == kCached);
  if (leases && found->state == kCached && model_.leases(*page) == 0) leases = model_.left() >= 1;
  const auto lease = ledger_.try_lease(*page);
  same(lease.has_value(), leases, "whether a page is leased");
  if (!lease) return tell(in_words(*page) + ": refused");
  model_.lease(*lease, *page);
  all_leases_.push_back(*lease);
  leased_[*lease] = found->tokens;
  tell(id_of(*lease) + ": " + in_words(*page));
}

void LedgerReplay::end_lease(const Draws& draws) {
  const auto& leases = model_.all_leases();
  const bool any = leases.empty() || draws[1] % 8 == 7;  // one that has ended, most likely
  LeaseId id = -1;
  if (!any) {
    id = std::next(leases.begin(), draws[0] % std::ssize(leases))->first;
  } else if (!all_leases_.empty()) {
    id = all_leases_[draws[0] % all_leases_.size()];
  }
  const bool stale = !leases.contains(id);
  same(ledger_.end_lease(id), !stale, "whether there was a lease");
  tell(id_of(id));
  if (stale) {
    ++stale_;
  } else {
    model_.end_lease(id);
    leased_.erase(id);
  }
}

void LedgerReplay::evict(const Draws& draws) {
  const int owner = draws[0] % model_.owners();
  same(ledger_.evict(owner), model_.evict(owner), "whether something was evicted");
  tell("of owner " + id_of(owner));
}

void LedgerReplay::set_capacity(const Draws& draws) {
  const int owner = draws[0] % model_.owners();
  const std::int64_t slots = std::ssize(model_.pages()[owner]);
  const std::int64_t pages = draws[1] % 2 == 1 ? slots : draws[2] % (slots + 1);
  ledger_.set_capacity(owner, pages);
  model_.set_capacity(owner, pages);
  tell("of owner " + id_of(owner) + ": " + id_of(pages));
}

// --- Choosing

PageHash LedgerReplay::hash(const Tokens& tokens) {
  const auto [found, fresh] = hashes_.try_emplace(tokens, PageHash{0, hashes_.size() + 1});
  return found->second;
}

/// Of the full pages of `tokens`, from page `from` on.
std::vector<PageHash> LedgerReplay::hashes_of(const Tokens& tokens, std::int64_t from) {
  std::vector<PageHash> hashes;
  for (std::int64_t end = (from + 1) * script_.page_tokens; end <= std::ssize(tokens);
       end += script_.page_tokens) {
    hashes.push_back(hash(Tokens(tokens.begin(), tokens.begin() + end)));
  }
  return hashes;
}

std::vector<int> LedgerReplay::owners_from(int first) const {
  std::vector<int> owners(model_.owners());
  std::iota(owners.begin(), owners.end(), 0);
  std::ranges::rotate(owners, owners.begin() + first % model_.owners());
  return owners;
}

std::optional<std::int64_t> LedgerReplay::some_request(int draw) {
  const auto& requests = model_.requests();
  if (requests.empty()) return std::nullopt;
  return std::next(requests.begin(), draw % std::ssize(requests))->first;
}

/// One that is under way, or now and then any that was, or one that never was.
std::optional<std::int64_t> LedgerReplay::some_move(int draw) {
  const auto& moves = model_.moves();
  const bool late = moves.empty() || draw % 16 == 15;
  if (late && (all_moves_.empty() || draw % 64 == 63)) return -1;
  if (late) return all_moves_[draw / 16 % all_moves_.size()];
  return std::next(moves.begin(), draw % std::ssize(moves))->first;
}

/// A page that is in use, or now and then any, or one that was in its slot before.
std::optional<PageRef> LedgerReplay::some_page(int draw, int how) const {
  std::vector<PageRef> pages;
  for (int owner = 0; owner < model_.owners(); ++owner) {
    for (int slot = 0; slot < std::ssize(model_.pages()[owner]); ++slot) {
      const NaivePage& page = model_.pages()[owner][slot];
      const bool wanted = page.state == kLive || page.state == kCached || how % 8 == 6;
      if (wanted) pages.push_back({owner, slot, page.generation - (how % 8 == 7 ? 1 : 0)});
    }
  }
  if (pages.empty()) return std::nullopt;
  return pages[draw % pages.size()];
}

void LedgerReplay::fail(const std::string& what) {
  if (!failure_) failure_ = what;
}

}  // namespace longspan::test
