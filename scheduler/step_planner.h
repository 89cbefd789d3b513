// Decides the steps of a job: a request starts as soon as its worst case fits and nobody is reading
// what it could share, and every step computes one token of each request that decodes and, beside
// them, a chunk of one prompt, or of several short ones.
//
// The prompt with the fewest tokens left goes first, so that a short one does not wait for a long
// one; but a prompt is passed over so many times at most, and then nobody comes before it. How much
// of it a step reads depends on time where that changes no token (chunk_budget.h). Where keys are
// rounded the cuts decide what they are rounded with: there a prompt is cut at every chunk from
// where it begins, which is at a multiple of the chunk (hit_pages), whoever shares its steps.
//
// A pure state machine: no I/O, clock, threads or MPI. Memory is promised before work starts. The
// page ledger promises a request that there are pages for all it can ever need; the planner which
// rank each of them is to be on, since the layout of its prompt decides that. A page is taken from
// the ledger, and told to its owner, with the step that opens it.
//
// Which ranks compute a chunk, and who owns pages that nobody has been granted, a policy may change
// while a request runs (policies/step_policy.h). The places that the planner counts rank by rank
// change with them, so what was promised can always be had. What it moves goes piece by piece, at
// each border what a budget allows (move_budget.h).
//
// Who named no limit, and under MemoryMode::kUtilize everybody, is promised a part of that to begin
// with, and more as it goes on. Where there is no more, somebody goes back to waiting, with what it
// has written (step_planner_evict.cc).
//
// A request with `room` is a conversation: at its end it is held with what was computed of it, and
// extend() goes on from there with a longer prompt, or one that differs from some position on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "scheduler/chunk_budget.h"
#include "scheduler/memory_mode.h"
#include "scheduler/move_budget.h"
#include "scheduler/page_ledger.h"
#include "scheduler/page_lender.h"
#include "scheduler/placement.h"
#include "scheduler/planner_options.h"
#include "scheduler/planner_state.h"
#include "scheduler/policies/step_policy.h"
#include "scheduler/queue_order.h"
#include "scheduler/request_shape.h"
#include "scheduler/step_plan.h"

namespace longspan {

class WorkPrice;

/// What a policy has changed.
struct ElasticCounts {
  std::int64_t moves = 0;     // pages that went to another rank
  std::int64_t regroups = 0;  // chunks of other ranks, or in another order, than the one before
  std::int64_t redraws = 0;   // times that pages not yet granted got other owners
};

/// Where a conversation goes on that was computed before.
struct RestoredPlace {
  std::vector<int> group;           // that computes it, in order
  std::vector<int> owners;          // of all pages it can ever need
  std::vector<PageRef> pages;       // for what is computed of it
  std::vector<RequestId> finished;  // forget these before: their pages may be among them
};

class StepPlanner {
 public:
  explicit StepPlanner(PlannerOptions options);

  /// Whether the request fits an idle group, and its own room. Depends on nothing that changes.
  bool could_run(const RequestShape& request) const;
  /// The most tokens, prompt and answer, of a request that could run. Neither does this.
  std::int64_t longest_request() const;
  /// Pages that requests can have, of all ranks together. Neither does this.
  std::int64_t usable_pages() const;
  std::int64_t page_tokens() const { return options_.page_tokens; }
  /// Queues a request. False, and nothing is queued, when it could not run.
  [[nodiscard]] bool submit(const RequestShape& request);
  /// Goes on with a held request, whose prompt, limits and stops are now those of `request`, and of
  /// whose tokens the first `common` are still the same. Returns how many positions stay as they
  /// were computed: at most those, and not the last of the prompt, whose row samples. Nothing, and
  /// nothing changes, when it does not fit the room.
  [[nodiscard]] std::optional<std::int64_t> extend(const RequestShape& request,
                                                   std::int64_t common);

  /// Takes up a conversation of which the positions of `request`'s prompt were computed by another
  /// job: it is held, once their keys and values are where this says. Nothing, and nothing changes,
  /// where its room does not fit now.
  [[nodiscard]] std::optional<RestoredPlace> restore(const RequestShape& request);
  /// Positions of a held request whose keys and values are there.
  std::int64_t computed_of_held(RequestId request) const;

  /// The next step; nothing when all requests are finished. Call completed() before the next one.
  /// `costs`, if any: of the group, for the target, and for the order in which requests start that
  /// wait `now` (queue_order.h); without them that is the order of arrival.
  /// `others`, if any, lend what they have of prompts that begin here.
  std::optional<StepPlan> next(const CostModel* costs = nullptr, Nanoseconds now = 0,
                               PageLender* others = nullptr);
  /// What a step of the last plan sampled: its first one or, in a run, the one behind that of the
  /// last call. Requests that reached their end leave or are held; returns them. No more steps of a
  /// run than were done need be told: it ends with the next plan.
  std::vector<RequestId> completed(const std::vector<SampledToken>& sampled);
  /// What the last step's ranks said of what they fetch, and of their tiers: before completed().
  /// Returns pages of other groups that were lent and have been copied.
  std::vector<PageRef> note(const TierNews& news);
  /// How many of so many pages that its prompt begins with a request can have of others.
  std::int64_t usable(const RequestShape& request, std::int64_t pages) const;
  /// As PageLender says, of this group's own.
  std::int64_t lendable(std::span<const PageHash> names, std::int64_t first) const;
  std::vector<PageRef> lend(std::span<const PageHash> names, std::int64_t first);
  /// Each page once for each time that it was lent.
  void take_back(PageRef page);
  /// Names of more full pages of a running request, behind those that have one: of its answer. To
  /// be told before the step that fills the first of them.
  void name_more(RequestId request, std::span<const PageHash> names);
  /// Moves a page of a running request to another rank of the group, before the next step. False,
  /// and nothing changes, unless the page is full and of this request alone, has not been moved
  /// since the last step, and `to` is another rank with a page to spare: at the source the page is
  /// free only after the step. Moves under way take no more than the headroom.
  [[nodiscard]] bool move(RequestId request, std::int64_t page, int to);
  /// The request gets no more tokens: it leaves, or is held.
  void end(RequestId request);
  /// Drops a request, whatever its state.
  void abort(RequestId request);
  /// Whether extend() can go on with the request.
  bool holds(RequestId request) const;

  /// Pages, by rank, that are promised to nobody there.
  std::span<const std::int64_t> unpromised() const { return unpromised_; }
  /// Whether such a request, once it has started, may have to wait again.
  bool may_go_back(const RequestShape& request) const;
  /// The tokens of its answer that ranks read, with its prompt, of a request that waits again or
  /// has begun again.
  std::span<const std::int32_t> read_again(RequestId request) const;
  /// How often requests have gone back to waiting.
  std::int64_t preemptions() const { return preemptions_; }

  /// World ranks that own the pages of a running request, of all it can ever need.
  const std::vector<int>& owners(RequestId request) const;

  bool idle() const { return waiting_.empty() && running_.empty(); }
  /// Requests that have not started, that go on, and that are held.
  std::int64_t waiting() const { return std::ssize(waiting_); }
  std::int64_t running() const { return std::ssize(running_); }
  std::int64_t held() const { return std::ssize(held_); }
  /// Of those that wait: what is to be read when they start.
  std::int64_t waiting_tokens() const;
  const ElasticCounts& elastic_counts() const { return elastic_counts_; }
  /// Pages that a policy wants elsewhere, and that wait for a later border.
  std::int64_t moves_left() const { return std::ssize(wishes_); }
  /// Of all ranks together.
  TierCounts tier_counts() const;
  /// Pages that came from ranks of other groups, and what one takes, as measured or to begin with.
  std::int64_t copied() const { return copied_; }
  Nanoseconds copy_time() const { return copy_time_; }
  /// What all that wait or run have left to compute.
  std::int64_t outstanding(const WorkPrice& price) const;
  /// Positions of its prompt that `request`, if it came now, should find computed when it starts:
  /// by then those before it have read theirs.
  std::int64_t expected_of(const RequestShape& request) const;
  const PlannerOptions& options() const { return options_; }
  /// Between completed() and next(). Takes as long as there are pages.
  PlannerState state() const;
  /// Which page is whose. After next() it is as the ranks see it when they have done the step.
  const PageLedger& ledger() const { return ledger_; }

 private:
  struct Running {
    RequestShape shape;
    std::vector<int> group;       // that compute its prompt, in order; then who only has pages
    std::vector<int> owners;      // of all pages it can ever need; all ranks know them
    std::int64_t hit_pages = 0;   // of them, the first: others have computed them
    std::int64_t promised = 0;    // of them, the first: it has a place for each
    std::int64_t reads = 0;       // positions of its prompt, and of what it had written before
    std::int64_t computed = 0;    // positions whose KV is stored
    std::int64_t sampled = 0;     // tokens
    std::int32_t last_token = 0;  // not yet computed
    bool begun = false;           // its pages are open on all ranks that have some
    int computing = 0;            // of the group, the first
    int overtaken = 0;            // steps since its last chunk that later prompts had a part in
    int preempted = 0;            // times it went back to waiting
    std::int64_t fetching = 0;    // pages that its ranks have not said they have
    bool copies = false;          // and other groups' ranks send them
    std::int64_t fetched_to = 0;  // where those end, or the first that was not there
    bool missed = false;          // one of them was not there
    std::vector<std::int32_t> answer;  // what was sampled, of one that may go back
    bool prefilling() const { return computed < reads; }
    bool fetches() const { return fetching > 0; }
    std::int64_t prompt_left() const { return reads - computed; }
    /// Whether the token behind `position` was sampled before.
    bool knows_behind(std::int64_t position) const {
      return position + 1 - shape.prompt_tokens < sampled;
    }
    /// Has a part in it from now on, if only by its pages.
    void join(int rank) {
      if (std::ranges::find(group, rank) == group.end()) group.push_back(rank);
    }
  };

  /// What is left of a request that went back to waiting.
  struct Preempted {
    std::vector<std::int32_t> answer;
    int times = 0;
  };

  struct NextChunk {
    Running* request = nullptr;
    std::int64_t count = 0;
  };

  /// A page that a policy wants elsewhere, and that has not moved yet.
  struct Wish {
    RequestId request = 0;
    WantedMove move;
  };

  /// A page that moves with the next step.
  struct Moving {
    RequestId request = 0;
    std::int64_t page = 0;
    PageInMotion move;
  };

  /// A request for which the step's last row of `parent`'s prompt samples too.
  struct Forking {
    RequestId parent = 0;
    Running child;
  };

  /// What a prompt begins with and need not compute.
  struct Prefix {
    std::vector<PageRef> hit;   // pages in memory
    std::vector<PageRef> kept;  // behind them, places of the tier
    std::int64_t lent = 0;      // or pages that another group has
    bool is_more_than_hit() const { return !kept.empty() || lent > 0; }
  };

  /// Where a request begins to be computed, and who has its pages.
  struct Beginning {
    std::vector<int> group;
    std::vector<int> owners;
    Prefix prefix;
  };

  RequestState state_of(const Running& request, RequestPhase phase) const;
  static std::deque<Running>::iterator find_in(std::deque<Running>& list, RequestId request);
  void start_next(StepPlan& plan, const CostModel* costs, Nanoseconds now, PageLender* others);
  void order_waiting(const CostModel* costs, Nanoseconds now);
  void count_passed(std::size_t running_before);
  bool is_one_line() const;
  void enter_tenants();
  void charge_tenants(std::size_t running_before);
  void start_waiting(StepPlan& plan, const CostModel* costs, PageLender* others);
  bool start(StepPlan& plan, const RequestShape& shape, Prefix found, PageLender* others);
  void begin_fetch(StepPlan& plan, Running& request, const std::vector<PageRef>& kept);
  void begin_copy(StepPlan& plan, Running& request, std::int64_t pages, PageLender& others);
  bool copies(RequestId request) const;
  std::optional<PageRef> note_fetched(const FetchOutcome& outcome);
  void end_fetch(std::deque<Running>::iterator request);
  bool fetch_pays(std::int64_t behind, std::span<const PageRef> kept, const CostModel* costs) const;
  SpreadOrder spread_order() const;
  int reader_of(std::int64_t page, std::span<const int> group) const;
  std::vector<int> group_from(std::int64_t page, const std::vector<std::int64_t>& room,
                              const std::vector<std::int64_t>& free) const;
  std::optional<Beginning> begin_behind(Prefix prefix, const RequestShape& request,
                                        std::vector<std::int64_t> free) const;
  std::vector<std::int64_t> idle_places(std::vector<std::int64_t> free) const;
  std::optional<std::vector<int>> group_behind(std::vector<int>& owners,
                                               const RequestShape& request,
                                               const std::vector<std::int64_t>& idle,
                                               const std::vector<std::int64_t>& free) const;
  std::optional<std::vector<int>> place(const RequestShape& request, std::span<const int> group,
                                        std::span<const int> before,
                                        const std::vector<std::int64_t>& free) const;
  std::optional<std::vector<int>> place_promised(std::int64_t pages, std::span<const int> group,
                                                 std::int64_t first,
                                                 const std::vector<std::int64_t>& free) const;
  bool add_later_owners(std::vector<int>& owners, std::int64_t pages, std::span<const int> group,
                        std::span<const int> before) const;
  bool fits_alone(std::int64_t pages) const;
  std::int64_t to_read(const RequestShape& request) const;
  std::int64_t written(const RequestShape& request) const;
  std::int64_t first_promise(const RequestShape& request) const;
  std::int64_t first_pages(const RequestShape& request) const;
  std::int64_t least_pages(const RequestShape& request) const;
  std::int64_t findable_pages(const RequestShape& request) const;
  bool fits(std::int64_t pages) const;
  bool can_go_back(const Running& request) const;
  bool grow_promises();
  bool grow(Running& request);
  RequestId who_makes_room(const Running& request) const;
  void preempt(RequestId id);
  void wait_again(std::deque<Running>::iterator request);
  std::vector<PageRef> longest_hit(const RequestShape& request) const;
  Prefix longest_prefix(const RequestShape& request, const CostModel* costs,
                        const PageLender* others) const;
  std::int64_t pages_to_copy(const RequestShape& request, std::int64_t behind,
                             const PageLender* others) const;
  bool awaits_prefix(const RequestShape& request, std::int64_t hit) const;
  bool leaves_prefix(const Running& request) const;
  std::vector<Running*> next_prompts();
  std::vector<NextChunk> next_chunks(const StepPlan& plan, const CostModel* costs);
  void count_overtaken(const std::vector<NextChunk>& next);
  PrefillChunk chunk_of(const NextChunk& next);
  bool awaits_fork(const RequestShape& request) const;
  std::vector<RequestId> fork_at_the_end_of(const Running& prompt);
  std::optional<Running> fork_of(const Running& prompt, const RequestShape& shape) const;
  void begin_forks();
  void keep_tail(RequestId leaving);
  void let_go_of_tails();
  void add_decode_rows(StepPlan& plan);
  bool may_run_on(const StepPlan& plan) const;
  void plan_run(StepPlan& plan);
  std::int64_t steps_of_run() const;
  std::int64_t ahead(const Running& request) const;
  void count_step();
  void set_group(StepPlan& plan) const;
  StepBorder border_of(const Running& request, std::span<const std::int64_t> places) const;
  std::vector<std::int64_t> places_of(const Running& request) const;
  std::int64_t settled_pages(RequestId request) const;
  void note_wishes();
  void make_wanted_moves(Nanoseconds now);
  void commit_moves();
  void redraw_owners(StepPlan& plan, Running& request);
  void regroup(Running& request, std::int64_t upto);
  void grant_pages(StepPlan& plan, const Running& request);
  void note_computed(const Running& request);
  /// How much of `common` positions of `held` can stay.
  std::int64_t kept(const Running& held, std::int64_t common) const;
  void finish(std::deque<Running>::iterator request);
  void leave(std::deque<Running>& list, std::deque<Running>::iterator request);
  std::vector<int> own_places(const Running& request) const;
  void give_back(const Running& request);

  PlannerOptions options_;
  ChunkRules rules_;
  std::unique_ptr<StepPolicy> policy_;  // none: nothing changes
  ElasticCounts elastic_counts_;
  PageLedger ledger_;
  std::vector<std::int64_t> unpromised_;  // pages, by rank, that are nobody's place
  std::deque<RequestShape> waiting_;
  std::map<RequestId, int> passed_;           // of those that wait, by how many later arrivals
  ClassRounds rounds_;                        // of their tenants
  std::map<RequestId, Preempted> preempted_;  // of those that wait: who has been running before
  std::deque<Running> running_;
  std::deque<Running> held_;           // at their end, with what was computed of them
  std::vector<Forking> forking_;       // by the step under way; they run when it is done
  std::vector<ForkedRequest> forked_;  // to be told in the next plan
  std::vector<RequestId> ends_later_;  // when the step under way is done
  std::vector<RequestId> left_;        // to be told in the next plan
  std::vector<RequestId> gone_back_;   // likewise
  std::deque<Wish> wishes_;            // in the order in which they came
  MoveBudget move_budget_;
  std::vector<Moving> moving_;       // to be told in the next plan, and not yet committed
  std::vector<PageMove> moved_;      // likewise, and committed
  std::vector<PageRef> leaving_;     // what moves of the last plan leave, still promised there
  std::vector<PageRef> kept_tails_;  // of requests that left, until their forks have copied them
  std::vector<PageFetch> fetching_;  // that ranks have not answered
  Nanoseconds fetch_time_ = 0;       // of a page, as measured; 0: nobody knows
  std::int64_t fetched_ = 0;         // pages
  std::int64_t missed_ = 0;
  Nanoseconds copy_time_;                 // of a page
  std::int64_t copied_ = 0;               // pages
  std::multimap<PageRef, LeaseId> lent_;  // each has a place of its own on its rank
  std::uint64_t epoch_ = 0;
  DecodeRun run_{.steps = 0};  // of the last plan: steps that are not completed, and no rows
  bool is_counted_ = false;    // the positions of the first of them are
  std::int64_t preemptions_ = 0;
};

}  // namespace longspan
