// The only allocator of the cluster: every KV page of every rank, and who may use it.
//
//   start() --> [promised its worst case] --> try_grant(): pages it may write, ahead of need
//                 hit: cached pages are its             |
//                                            advance(): what was computed; full pages are indexed
//                                                       |
//                                            release(): what is indexed is cached, the rest is free
//
// The coordinator calls it, from one thread, with what it decided and with what ranks reported; a
// call is one transition, whose time is that of the pages it touches. There is no clock, no I/O and
// no message here, and the same calls give the same pages. Policies decide which owner a page comes
// from; that it can be had is the ledger's promise:
//
//   sum over started requests of their worst case, what they share once, + pinned
//     <= capacity - headroom
//
// While that holds, a granted page is found for every request until it has its worst case, if only
// the caller lets it come from any owner: a free one, else a cached page is evicted.
//
// Every function throws std::logic_error for what the caller should have known (an unknown request,
// positions beyond the grants): the ledger is not to be trusted afterwards. What depends on others
// (memory, late or doubled messages) is a value, and nothing changes when the answer is no.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/page_moves.h"
#include "scheduler/page_ref.h"
#include "scheduler/page_slots.h"
#include "scheduler/planner_state.h"
#include "scheduler/pool_promise.h"
#include "scheduler/prefix_index.h"
#include "scheduler/step_plan.h"
#include "scheduler/tier_index.h"

namespace longspan {

struct LedgerOptions {
  std::vector<std::int64_t> capacity;  // pages, by owner
  std::int64_t page_tokens = 16;
  std::int64_t headroom = 0;  // pages that only moves may take, of all owners together
  /// Places for evicted pages, by owner; none: there is no tier.
  std::vector<std::int64_t> tier = {};
};

/// What of a request concerns memory.
struct MemoryNeed {
  RequestId id = 0;
  std::int64_t prompt_tokens = 0;  // 1 at least
  std::int64_t worst_tokens = 0;   // positions it can ever compute, the prompt's included
};

/// Whether a request has started, with the numbers that say why not.
struct StartAnswer {
  enum class Verdict {
    kStarted,
    kNotNow,  // when others end it will fit
    kNever,   // not even alone, with all slots there are
  };
  Verdict verdict = Verdict::kNotNow;
  std::int64_t worst_pages = 0;  // that it asked for
  PoolPromise pool;              // as it stood before
  std::int64_t pool_at_full_strength = 0;
  std::int64_t hit_tokens = 0;  // positions that need not be computed
};

/// A page that a request may write, from position `number` * page_tokens on.
struct Grant {
  PageRef page;
  std::int64_t number = 0;
  /// Of a fork: before anything is written, `copy_tokens` positions come from there.
  std::optional<PageRef> copy_from;
  std::int64_t copy_tokens = 0;
};

using LeaseId = std::int64_t;

class PageLedger {
 public:
  explicit PageLedger(const LedgerOptions& options);

  // --- Requests -------------------------------------------------------------------------------

  /// The cached or live pages that a prompt of `prompt_tokens` begins with, given the hashes of its
  /// full pages: the last position of a prompt is always computed. Of copies one of the owners that
  /// come first in `prefer`. Who starts gives the hashes of as many of them as it wants.
  std::vector<PageRef> longest_hit(std::span<const PageHash> hashes, std::int64_t prompt_tokens,
                                   std::span<const int> prefer) const;
  /// Promises a request its worst case, but for what others have of it, and gives it the pages of
  /// longest_hit().
  StartAnswer start(const MemoryNeed& need, std::span<const PageHash> hashes = {},
                    std::span<const int> prefer = {});
  /// Starts `child` with all that `parent` has computed: full pages are shared, and of a page that
  /// is not full the child gets a copy with its next grant. `worst_tokens` includes what it shares.
  StartAnswer fork(RequestId parent, RequestId child, std::int64_t worst_tokens);

  /// Promises a request that has started up to `worst_tokens` positions, if that is more than
  /// before: one that named no limit starts with less, and gets more while there is any. False when
  /// there is not.
  [[nodiscard]] bool try_promise(RequestId id, std::int64_t worst_tokens);

  /// Pages still to be granted before positions [0, upto) are computed: see pages_to_grant().
  std::int64_t pages_missing(RequestId id, std::int64_t upto) const;
  /// Whether the last page granted has been opened and more can be needed: the time to ask.
  bool runs_low(RequestId id) const;
  /// One more page, from the first of `owners` that has one free or a cached one to evict; nothing
  /// when none has. More than the worst case is the caller's mistake.
  [[nodiscard]] std::optional<Grant> try_grant(RequestId id, std::span<const int> owners);
  /// Frees what was granted and not reached: its owner leaves, or the request goes elsewhere.
  void take_back_grants(RequestId id);

  /// Positions [0, length) are computed. `full`: the hashes of the pages that have become full by
  /// that, in order, or none if nobody may find them. The first page with a content is indexed;
  /// one computed twice stays private, and so does what follows it. False for an old report: all of
  /// it was known.
  bool advance(RequestId id, std::int64_t length, std::span<const PageHash> full = {});
  /// The request has ended or was aborted, and no step that writes its pages is under way. Pages
  /// in the index are cached, all others free.
  void release(RequestId id);

  bool runs(RequestId id) const { return requests_.contains(id); }
  std::int64_t computed(RequestId id) const { return request(id).computed; }
  /// All its pages in order: those of [0, computed), then the granted ones.
  std::span<const PageRef> pages(RequestId id) const { return request(id).pages; }
  /// Where the last positions of a fork are until its next step has copied them.
  std::optional<PageRef> shared_tail(RequestId id) const { return request(id).tail; }

  // --- Moves ----------------------------------------------------------------------------------

  /// Reserves a page at owner `to` for what live or cached `from` holds. Nothing when `from` is not
  /// there any more, moves already, or is there too; when the moves under way take all of the
  /// headroom; or when `to` has no room, even after a cached page was evicted for it. A page that
  /// is not full may move too, if its request takes no step until then.
  [[nodiscard]] std::optional<PageInMotion> try_move(PageRef from, int to,
                                                     std::int64_t deadline_ns);
  /// `to` says that it has the contents. False, counted, for a move that is over.
  bool prepared(MoveId move, PageRef to);
  /// The page is at its new owner, for all requests that share it and for the index. What it left
  /// is retired. False for a move that is over or not prepared; and when the content has come to
  /// `to` by other ways, which cancels the move.
  [[nodiscard]] bool commit_move(MoveId move);
  /// The same, but the old page stays as it was, and the new one is cached. Of indexed pages only.
  [[nodiscard]] bool commit_copy(MoveId move);
  /// False for a move that is over.
  bool cancel_move(MoveId move);
  /// Cancels what is late. A prepared move has no deadline.
  std::vector<MoveId> cancel_late_moves(std::int64_t now_ns);
  /// Every rank of the old and the new plan has the new one, with its streams drained: nothing of a
  /// step reads the page that a move left. False, counted, for another page.
  bool drained(PageRef left);

  // --- Leases ---------------------------------------------------------------------------------

  /// Keeps a live or cached page from being freed. Nothing when it is not there any more, or when
  /// memory promised to others would be held.
  [[nodiscard]] std::optional<LeaseId> try_lease(PageRef page);
  /// False, counted, for one that has ended.
  bool end_lease(LeaseId lease);

  // --- Tier -----------------------------------------------------------------------------------

  /// Where evicted contents are kept, and which.
  const TierIndex& tier() const { return tier_; }
  /// Pages that were evicted since the last call and get a place there, those first that went
  /// first. Their contents must be copied before anything is granted that is told later.
  std::vector<SpilledPage> take_spilled() { return std::exchange(spilled_, {}); }
  /// The same, when that cannot be: they get none.
  void forget_spilled();
  /// Somebody reads what a place keeps: until end_read() it is not given away. Throws
  /// std::logic_error for a place that keeps nothing.
  void read_tier(PageRef place) { tier_.hold(place); }
  /// Of each read_tier() once. `good`: or what it kept is damaged, and forgotten.
  void end_read(PageRef place, bool good);
  /// The place could not be written: what it should keep is forgotten. False, counted, for a place
  /// that keeps it no more.
  bool lose(PageRef place) { return tier_.drop(place) || stale(); }

  // --- Memory ---------------------------------------------------------------------------------

  /// Frees a cached page of `owner`, and with it what cannot be found without. False when it has
  /// none that is not leased.
  bool evict(int owner);
  /// An owner has lost slots, or has them back; 0: it is draining. Evicts what it must. Pages that
  /// are in use stay until they are released or moved, and the promise may not hold meanwhile.
  void set_capacity(int owner, std::int64_t pages);

  /// The promise as it stands.
  PoolPromise promise() const;
  /// Pages that a grant could take from `owner`: free or to be evicted.
  std::int64_t available(int owner) const { return slots_.room(owner) + index_.idle(owner); }
  const PageCounts& counts(int owner) const { return slots_.counts(owner); }
  /// Pages of `owner` that several requests have.
  std::int64_t shared(int owner) const { return shared_.at(owner); }
  /// Of all owners.
  const PageCounts& counts() const { return slots_.total(); }
  /// The page, null when `ref` is not current.
  const Page* find(PageRef ref) const { return slots_.find(ref); }
  /// All that are not free, by owner and slot. Takes as long as there are slots.
  std::vector<PageRecord> pages_in_use() const;
  /// Messages about pages, moves and leases that were over.
  std::int64_t stale_messages() const { return stale_messages_; }

  /// The first invariant that is violated, in words: I1, I2, I3 and I6 of the design as far as they
  /// concern memory. Takes as long as there are pages; each transition checks what it touches.
  std::optional<std::string> check() const;

 private:
  struct Request {
    std::int64_t worst_pages = 0;
    std::int64_t computed = 0;
    std::vector<PageRef> pages;
    std::optional<PageRef> tail;  // a fork's, until its own copy has been written
    std::int64_t promised() const { return worst_pages + (tail ? 1 : 0); }
    std::int64_t open_pages(std::int64_t page_tokens) const;
  };

  Request& request(RequestId id);
  const Request& request(RequestId id) const;
  /// How many of `pages` requests have.
  std::int64_t in_use(std::span<const PageRef> pages) const;
  StartAnswer promise_to(RequestId id, std::int64_t pages, std::int64_t shared) const;
  void open_page(PageRef page, std::int64_t number, std::int64_t filled);
  void index_full(const Request& request, std::int64_t number, const PageHash& hash);

  /// False, and nothing is evicted, where that would not do.
  [[nodiscard]] bool make_room(int owner);
  void refer(PageRef page);
  void let_go(PageRef page);
  void vacate(PageRef page);
  void spill(std::vector<PageRef> gone);
  void free_when_unread(PageRef page);
  /// A cached page may be evicted unless it is leased.
  void set_idle(PageRef page);
  /// Evicts where more is in use than the capacity.
  void trim();

  std::optional<PageInMotion> ready(MoveId move);
  void copy_record(const PageInMotion& move, PageState state, std::int32_t refs);
  void rename(PageRef from, PageRef to);
  bool stale();

  /// What the pages should say, found from requests and moves alone.
  class Audit;

  std::int64_t page_tokens_;
  std::int64_t headroom_;
  std::int64_t slots_at_start_ = 0;
  PageSlots slots_;
  PrefixIndex index_;
  PageMoves moves_;
  TierIndex tier_;
  std::vector<SpilledPage> spilled_;
  std::map<RequestId, Request> requests_;
  std::map<LeaseId, PageRef> leases_;
  std::int64_t promised_ = 0;         // to each request by itself
  std::int64_t shared_again_ = 0;     // references to pages but the first of each
  std::vector<std::int64_t> shared_;  // by owner, pages that several requests have
  LeaseId last_lease_ = 0;
  std::uint64_t uses_ = 0;  // orders `last_used`: this folder has no clock
  std::int64_t stale_messages_ = 0;
};

}  // namespace longspan
