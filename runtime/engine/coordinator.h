// Rank 0's side of a job: submits requests, drives steps, hands out tokens.
//
//   planner --plan--> every rank of the group --report--> planner, listener
//
// A plan that ends requests, or moves pages or says whose they are, goes to all ranks, since any of
// them may hold them.
// So does one with rows of a request whose penalties look back: a rank that comes to own its next
// page samples for it, and must know every token until then.
//
// The coordinator is a worker too: between sending a plan and collecting the reports it does its
// own part of the step.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/engine/control_channel.h"
#include "runtime/engine/page_names.h"
#include "runtime/engine/step_worker.h"
#include "runtime/engine/strategy_picker.h"
#include "scheduler/step_cost_fit.h"
#include "scheduler/step_planner.h"

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
    /// Layers of that chunk as this rank does them; called on the compute stream's thread.
    LayerDone layer;
    /// A token was sampled, in order of position per request.
    std::function<void(RequestId, const Scored&)> token;
    /// Sum of -ln p over the prompt rows of one chunk, all ranks together.
    std::function<void(RequestId, double)> nll;
    /// If any: the last token of a request, or of a conversation's turn, was sampled.
    std::function<void(RequestId)> finished = nullptr;
  };

  /// Borrows all but the options.
  Coordinator(ControlChannel& control, StepWorker& worker, PlannerOptions options,
              StrategyPickerOptions strategies, Listener listener);

  /// How decode rows are shared from the next step on; shipped until told.
  void use_for_decode(DecodeStrategy strategy) { decode_strategy_ = strategy; }

  /// From now on steps are timed, and the planner told what the next ones should take: it needs
  /// that for a target (PlannerOptions). `guess`: what they take until some were timed.
  void price_steps(const StepCosts& guess, int degree) { costs_.emplace(guess, degree); }

  /// From now on `wanted` is asked before each step whether the scheduler's state is to be written
  /// to a file, which a line in the log names.
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

  /// Tells every rank of the request and queues it. With `room` it is a conversation of up to so
  /// many tokens, and is held at its end. False when it can never fit.
  [[nodiscard]] bool submit(Admission admission, std::int64_t max_new, bool wants_nll,
                            std::int64_t room = 0, const Sharing& sharing = {},
                            const QueueTerms& terms = {});
  /// Goes on with the held request of that name as `admission`. Returns how many leading positions
  /// need not be computed again: those of the tokens that both have, but for the prompt's last, and
  /// of a page that was rounded all or none. Nothing, and all stays as it was, when it does not fit
  /// the room.
  [[nodiscard]] std::optional<std::int64_t> extend(Admission admission, std::int64_t max_new);
  /// Whether the request is held.
  bool holds(RequestId request) const { return planner_.holds(request); }
  const StepPlanner& planner() const { return planner_; }
  HeldConversation held(RequestId request) const;
  /// Every rank writes its pages of a held request. `order.computed` is what held() says, or less
  /// where nothing that was rounded together is cut. Throws the Error of the first rank that could
  /// not; what others wrote then stays, for the caller to drop.
  std::vector<SessionPart> save_pages(const SavePages& order);
  /// Takes up the conversation of `session`, whose index is `index`: from then on it is held, with
  /// so much room. It must suit the model and the KV type, and something of it is computed. False
  /// where the room does not fit now. Throws the Error of the first rank that could not read its
  /// pages; then there is no such request.
  [[nodiscard]] bool restore(RequestId request, const std::string& session,
                             const SessionIndex& index, std::int64_t room);
  /// Before the next step: the request gets no more tokens.
  void end(RequestId request) { planner_.end(request); }
  /// The same, and a request that would be held is forgotten.
  void forget(RequestId request);
  /// As StepPlanner::move(): before the next step.
  [[nodiscard]] bool move_page(RequestId request, std::int64_t page, int to) {
    return planner_.move(request, page, to);
  }
  /// Runs one step; false when nothing is left to do. Throws Error when a rank has other pages than
  /// the ledger.
  bool step();
  /// Ends the workers' loops and collects every rank's summary, in rank order. Throws Error when
  /// the ledger's books do not add up.
  std::vector<RankSummary> stop();

 private:
  std::vector<PageHash> begin_names(const Admission& admission, const std::string& cache_salt);
  void name_answers(const std::vector<SampledToken>& sampled);
  void admit(Admission admission);
  void admit_again(const std::vector<RequestId>& preempted);
  void drop(const std::vector<RequestId>& finished);
  void announce(const StepOrder& order);
  void run(const StepOrder& order, const std::vector<StrategyChoice>& choices);
  void collect(const StepPlan& plan, const StepReport& own);
  void compare_with_ledger(int rank, const StepReport& report) const;
  std::vector<int> others() const;

  ControlChannel& control_;
  StepWorker& worker_;
  StepPlanner planner_;
  StrategyPicker picker_;
  std::optional<StepCostFit> costs_;
  std::function<bool()> state_wanted_;
  DecodeStrategy decode_strategy_ = DecodeStrategy::kShipped;
  Listener listener_;
  std::optional<PrefixSharing> prefixes_;
  std::map<RequestId, PageNames::Chain> answers_;  // names of those that are being written
  struct Conversation {
    std::int64_t room = 0;
    std::vector<TokenId> tokens;  // of its last prompt, and what was sampled since
  };

  std::map<RequestId, std::int64_t> prompt_tokens_;  // that are read: of some, answers too
  std::map<RequestId, Admission> kept_;              // of those that may go back to waiting
  std::map<RequestId, Conversation> conversations_;
  std::set<RequestId> looking_back_;
};

/// The loop of every other rank: obeys until told to stop.
void follow_coordinator(ControlChannel& control, StepWorker& worker);

}  // namespace longspan
