// What one step does, said by the coordinator and obeyed by every rank of the group.
//
// All sizes follow from the plan and from what earlier plans said, so ranks never exchange sizes.
// A plan may hold chunks of several prompts and rows of decode: short prompts share a step, and a
// long one stops nobody's answer. A plan of decode rows alone may hold for many steps (DecodeRun).
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/page_ref.h"

namespace longspan {

using RequestId = std::int64_t;

/// The layouts of attention/shard_layout.h, which this folder may not include.
enum class DealtBy { kBlockCyclic, kStriped, kZigzag, kContiguous, kFolded };

/// Of all pages that a request can ever need, those from `first` on belong to `owners` from this
/// step on. Said when it starts, and again where a policy changes its mind about pages that nobody
/// has been granted yet.
struct PageOwners {
  RequestId request = 0;
  std::int64_t first = 0;
  std::vector<int> owners;  // world ranks, in page order
};

/// Positions [first, first + count) of a request are computed by the first ranks of `group` and
/// their KV is stored. All ranks know who owns each page; only the owner hears where it lies, with
/// the step that opens it. Page p is opened as soon as position p * page_tokens is computed, so a
/// rank that sits out some steps misses nothing.
struct PrefillChunk {
  RequestId request = 0;
  std::vector<int> group;  // of the step's ranks, in an order of its own
  int holders = 0;         // of them, the last: they have pages, and compute nothing
  std::int64_t first = 0;
  std::int64_t count = 0;
  DealtBy layout = DealtBy::kBlockCyclic;
  std::int64_t block = 1;  // compute block of the cyclic layouts, tokens
  bool samples = false;    // the chunk ends the prompt: the rank of its last row samples
  bool wants_nll = false;  // sum the negative log-likelihood of each row's next token
  /// With the chunk that samples: requests of the same prompt, for which its last row samples too.
  std::vector<RequestId> forks;

  int computing() const { return static_cast<int>(group.size()) - holders; }
};

/// One token of a request: `token` at `position` is computed, its KV stored, the next one sampled.
struct DecodeStep {
  RequestId request = 0;
  std::int64_t position = 0;
  std::int32_t token = 0;
  int master = 0;  // world rank that owns the page of `position`
};

/// From this step on page `page` of a request lies there. Its owner is one of the step's group.
struct GrantedPage {
  RequestId request = 0;
  std::int64_t page = 0;
  PageRef at;
  bool filled = false;  // what it is to hold is there: another request has computed the same
  /// Of a fork: so many tokens that it begins with are copied from the page its parent has there.
  std::int64_t copied = 0;
};

/// All that `from` has computed is `to`'s too. It has the full pages with it; where the last one is
/// not full, a copy comes with its first grant, which the same rank makes.
struct ForkedRequest {
  RequestId from = 0;
  RequestId to = 0;
  std::vector<int> owners;  // of all pages `to` can ever need
};

/// A full page of a running request goes from its owner to where `to` says, before the step.
struct PageMove {
  RequestId request = 0;
  std::int64_t page = 0;
  PageRef to;
};

/// A token sampled by a step.
struct SampledToken {
  RequestId request = 0;
  std::int32_t token = 0;
};

/// How a row goes on without another plan.
struct RowOfRun {
  std::int64_t left = 0;            // tokens that it may still sample, the plan's own included
  std::vector<std::int32_t> stops;  // each ends the request when sampled
  std::int64_t page_end = 0;        // the position from which on its keys are on another page,
  int next_master = 0;              // which is this rank's
};

/// Steps that the group takes one after the other by one plan, each with the tokens that the one
/// before has sampled. All pages that they need are granted with the first.
struct DecodeRun {
  std::int64_t steps = 1;       // at most, the plan's own included
  bool until_one_ends = false;  // somebody waits for what a row leaves that ends
  std::vector<RowOfRun> rows;   // one per row of the plan; none where there is one step

  bool goes_on() const { return steps > 1; }
};

/// A page that leaves KV memory: its contents go to a place of its owner's tier. First of all that
/// is done with pages, since others may be written to its slot.
struct SpilledPage {
  PageRef from;
  PageRef to;  // a place, as TierIndex names it

  friend bool operator==(const SpilledPage&, const SpilledPage&) = default;
};

/// A granted page that comes to hold what a place of its owner's tier keeps or, where `sent`, what
/// page `from` of another group's rank holds, which sends it. The request takes no step until its
/// rank has said what became of it.
struct PageFetch {
  RequestId request = 0;
  std::int64_t page = 0;
  PageRef at;
  PageRef from;
  bool sent = false;
};

/// The other side of a fetch of a page that is sent: `from` goes to the rank of instance `to` that
/// has the same part of the model.
struct PageSend {
  PageRef from;
  int to = 0;

  friend bool operator==(const PageSend&, const PageSend&) = default;
};

/// What became of a fetch: `at` names it.
struct FetchOutcome {
  PageRef at;
  bool good = false;      // or what the tier kept is damaged, or gone
  std::int64_t took = 0;  // nanoseconds, of reading or receiving it; 0: not known
};

/// What a step's ranks say of their tiers.
struct TierNews {
  std::vector<FetchOutcome> fetched;
  std::vector<PageRef> lost;  // places that could not be written
};

struct StepPlan {
  std::uint64_t epoch = 0;            // of a run's later steps one more each
  std::vector<int> group;             // world ranks, in order: all that do something
  std::vector<ForkedRequest> forks;   // first of all; every rank of the job hears of them
  std::vector<RequestId> preempted;   // these wait again: their pages, and no more, are forgotten
  std::vector<RequestId> finished;    // forget these before the step: their pages are free
  std::vector<SpilledPage> spills;    // every rank of the job hears of them
  std::vector<PageOwners> owners;     // every rank of the job hears of them
  std::vector<PageMove> moves;        // each page once; every rank of the job hears of them
  std::vector<GrantedPage> grants;    // of a request in page order
  std::vector<PageFetch> fetches;     // into pages of `grants`
  std::vector<PrefillChunk> prefill;  // of different requests
  std::vector<DecodeStep> decode;
  DecodeRun run;
  std::vector<RequestId> known;  // of rows: their next token was sampled before. For rank 0 alone

  /// Nothing is computed: its ranks wait for their tiers, a while at most.
  bool only_waits() const { return prefill.empty() && decode.empty(); }
};

}  // namespace longspan
