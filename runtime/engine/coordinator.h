// Rank 0's side of a job: submits requests, drives steps, hands out tokens.
//
//   planner of a group --plan--> its line --> ranks of the group --reports--> planner, listener
//
// A plan of a group that only decodes holds for a run of steps, of which the coordinator hears as
// they end. Who has something for the group in the middle of a run has it end first: a request that
// comes, or something about one that is there.
//
// Each group has a step of its own under way, and its next one begins when that is done, whatever
// the others do: lines wait for ranks (group_line.h), the coordinator sleeps until a line has
// something to say. A job of one group has one line, without a thread: a step is then one call.
//
// A request, its pages and what is said of it concern the ranks of its group and nobody else. A
// plan that ends requests or moves pages goes to all of them, since any may hold the pages. So does
// one with rows of a request whose penalties look back: a rank that comes to own its next page
// samples for it, and must know every token until then.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/engine/control_channel.h"
#include "runtime/engine/group_line.h"
#include "runtime/engine/page_names.h"
#include "runtime/engine/step_outcomes.h"
#include "runtime/engine/step_worker.h"
#include "runtime/engine/strategy_picker.h"
#include "scheduler/group_schedule.h"
#include "scheduler/step_cost_fit.h"

namespace longspan {

/// A chunk of prefill that is about to run; of 0 positions where the last chunk of another's prompt
/// is this request's too. `choice` lives as long as the call.
struct Progress {
  RequestId request = 0;
  std::int64_t prompt_done = 0;   // positions computed before it, by whomever
  std::int64_t prompt_chunk = 0;  // positions of this chunk
  std::int64_t prompt_total = 0;
  const StrategyChoice* choice = nullptr;
};

/// What is to be kept of a held request.
struct HeldConversation {
  std::vector<TokenId> tokens;  // of its last prompt, and what was sampled since
  std::int64_t computed = 0;    // of them, the first ones: the ranks have their keys and values
  std::int64_t room = 0;
};

/// Among whom a request waits.
struct QueueTerms {
  Urgency urgency = Urgency::kInteractive;
  std::string tenant;
  std::optional<Nanoseconds> deadline;  // for its first token, by the steady clock
  bool names_limit = true;              // or it may have max_new because there is room
};

struct SavePages;
struct SessionIndex;
struct SessionPart;

class Coordinator {
 public:
  /// `layer` may be empty, the others may not. All but `layer` are called by the thread of step().
  struct Listener {
    /// A prefill chunk is about to run.
    std::function<void(const Progress&)> prefill;
    /// Layers of a chunk of rank 0's group as this rank does them; called on the compute stream's
    /// thread.
    LayerDone layer;
    /// A token was sampled, in order of position per request.
    std::function<void(RequestId, const Scored&)> token;
    /// Sum of -ln p over the prompt rows of one chunk, all ranks together.
    std::function<void(RequestId, double)> nll;
    /// If any: the last token of a request, or of a conversation's turn, was sampled.
    std::function<void(RequestId)> finished = nullptr;
  };

  /// Borrows all but the options.
  Coordinator(ControlChannel& control, StepWorker& worker, GroupSchedule schedule,
              StrategyPickerOptions strategies, Listener listener);

  /// How decode rows are shared from the next step on; shipped until told.
  void use_for_decode(DecodeStrategy strategy) { decode_strategy_ = strategy; }

  /// From now on steps are timed, and requests go to groups by what they should take there. The
  /// planner of a group is told too, if it has a target (PlannerOptions). `guess`: what steps of
  /// `degree` instances, as many as every group has, take until some were timed.
  void price_steps(const StepCosts& guess, int degree) { costs_.emplace(guess, degree); }

  /// From now on `wanted` is asked before each step whether the scheduler's state is to be written
  /// to files, one for each group when that is between steps, which lines in the log name.
  void write_state_when(std::function<bool()> wanted) { state_wanted_ = std::move(wanted); }

  /// How prompts find what others have computed.
  struct PrefixSharing {
    PageNames names;
    bool by_length = false;  // only of those with as much room, since keys depend on it
    /// Of answers too: what decode computes is what prefill would, since no keys are rounded.
    bool answers = false;
  };

  /// What was computed of a request is found by later ones whose prompts begin alike, unless they
  /// are conversations.
  void share_prefixes(PrefixSharing sharing) { prefixes_ = std::move(sharing); }

  /// With whom a request shares what is computed of its prompt.
  struct Sharing {
    /// An earlier request of the same prompt and max_new, whose prompt is read for both.
    std::optional<RequestId> like;
    /// Prefixes are shared with those of the same salt alone.
    std::string cache_salt;
  };

  /// Whether any group could ever run it. Any thread may ask.
  bool could_run(const RequestShape& shape) const { return schedule_.could_run(shape); }
  /// Queues the request with a group and tells the group's ranks, at any time. With `room` it is a
  /// conversation of up to so many tokens, and is held at its end. False when it can never fit.
  [[nodiscard]] bool submit(Admission admission, std::int64_t max_new, bool wants_nll,
                            std::int64_t room = 0, const Sharing& sharing = {},
                            const QueueTerms& terms = {});

  // What concerns one request: between the steps of its group. A run whose steps this thread makes
  // ends for it.

  /// Whether no step of its group is under way.
  bool is_between_steps(RequestId request) const;
  /// Where a run of its group is under way, no step begins but those that may have begun.
  void make_way_for(RequestId request);
  /// Goes on with the held request of that name as `admission`. Returns how many leading positions
  /// need not be computed again: those of the tokens that both have, but for the prompt's last, and
  /// of a page that was rounded all or none. Nothing, and all stays as it was, when it does not fit
  /// the room.
  [[nodiscard]] std::optional<std::int64_t> extend(Admission admission, std::int64_t max_new);
  /// Whether the request is held.
  bool holds(RequestId request) const { return schedule_.holds(request); }
  const GroupSchedule& schedule() const { return schedule_; }
  HeldConversation held(RequestId request) const;
  /// Every rank of its group writes its pages of a held request; waits for a step of the group that
  /// is under way. `order.computed` is what held() says, or less where nothing that was rounded
  /// together is cut. Throws the Error of the first rank that could not; what others wrote then
  /// stays, for the caller to drop.
  std::vector<SessionPart> save_pages(const SavePages& order);
  /// Takes up the conversation of `session`, whose index is `index`: from then on it is held, with
  /// so much room, by the group that has least to do of those with room; waits for steps that are
  /// under way. It must suit the model and the KV type, and something of it is computed. False
  /// where the room does not fit now. Throws the Error of the first rank that could not read its
  /// pages; then there is no such request.
  [[nodiscard]] bool restore(RequestId request, const std::string& session,
                             const SessionIndex& index, std::int64_t room);
  /// The request gets no more tokens.
  void end(RequestId request);
  /// The same, and a request that would be held is forgotten.
  void forget(RequestId request);
  /// As StepPlanner::move(); false in the middle of a step too.
  [[nodiscard]] bool move_page(RequestId request, std::int64_t page, int to);

  /// Begins a step of each group that has none under way, and waits for the end of one: any
  /// group's. Returns without one when somebody calls wake() while a group is idle or in a run, so
  /// that it can be told of what there is. False when nothing is under way and nothing is left to
  /// do. Throws Error when a rank has other pages than the ledger.
  bool step();
  /// Waits for the steps that are under way, and tells of them.
  void settle();
  /// From any thread: there may be something for an idle group.
  void wake() { outcomes_.wake(); }
  /// Steps that have ended, and plans that were made for them.
  std::int64_t steps() const { return steps_; }
  std::int64_t plans() const { return plans_; }
  /// Waits for what is under way without a word to the listener, ends the workers' loops and
  /// collects every rank's summary, in rank order. Throws Error when a ledger's books do not add
  /// up.
  std::vector<RankSummary> stop();

 private:
  struct Conversation {
    std::int64_t room = 0;
    std::vector<TokenId> tokens;  // of its last prompt, and what was sampled since
  };
  /// A plan that is not done.
  struct UnderWay {
    StepPlan plan;  // of the step under way or, between two of a run, of the last one
    DecodeRun run;  // of that
    std::vector<SampledToken> sampled;     // by that
    bool has_step = false;                 // a step of the plan has ended
    std::vector<std::int64_t> handed_out;  // pages, by rank: none more until it is done
  };
  struct GroupSteps {
    std::optional<UnderWay> under_way;
    bool state_wanted = false;
    std::unique_ptr<GroupLine> line;  // last: it ends before what it works on
  };

  /// By a clock that never goes back.
  static Nanoseconds now();
  /// What the ranks of an instance have said so far of a page that they fetch.
  struct FetchedParts {
    FetchOutcome whole;
    int told = 0;
  };

  GroupSteps& steps_of(RequestId request);
  std::vector<PageHash> begin_names(const Admission& admission, const std::string& cache_salt);
  void name_answers(const std::vector<SampledToken>& sampled);
  void admit(Admission admission);
  void admit_again(const std::vector<RequestId>& preempted);
  void drop(const std::vector<RequestId>& finished);
  void write_wanted_states();
  const CostModel* costs() const { return costs_ ? &costs_->costs() : nullptr; }
  void begin_step(int group);
  void have_pages_sent(const StepPlan& plan);
  void tell_of_chunks(const StepPlan& plan, const std::vector<StrategyChoice>& choices) const;
  bool concerns_all(const StepPlan& plan) const;
  std::vector<std::int64_t> handed_out(int group) const;
  std::vector<const RowResult*> take(const StepOutcome& outcome);
  void end_step(const StepOutcome& outcome);
  void make_way(GroupSteps& group);
  void ask_to_end(GroupSteps& group);
  void await(GroupSteps& group);
  void tell_of(const StepOutcome& outcome, const std::vector<const RowResult*>& rows);
  void note_tier(const StepOutcome& outcome);
  void check(const UnderWay& now, const StepOutcome& outcome) const;

  ControlChannel& control_;
  StepWorker& worker_;
  GroupSchedule schedule_;
  StrategyPicker picker_;
  std::optional<StepCostFit> costs_;
  std::function<bool()> state_wanted_;
  DecodeStrategy decode_strategy_ = DecodeStrategy::kShipped;
  Listener listener_;
  std::optional<PrefixSharing> prefixes_;
  std::map<RequestId, PageNames::Chain> answers_;    // names of those that are being written
  std::map<RequestId, std::int64_t> prompt_tokens_;  // that are read: of some, answers too
  std::map<RequestId, Admission> kept_;              // of those that may go back to waiting
  std::map<RequestId, Conversation> conversations_;
  std::set<RequestId> looking_back_;
  std::map<PageRef, FetchedParts> fetched_parts_;  // by the page that is filled
  std::int64_t steps_ = 0;
  std::int64_t plans_ = 0;
  StepOutcomes outcomes_;
  std::vector<GroupSteps> groups_;  // last: their lines fill the outcomes
};

/// The loop of every other rank: obeys until told to stop.
void follow_coordinator(ControlChannel& control, StepWorker& worker);

}  // namespace longspan
