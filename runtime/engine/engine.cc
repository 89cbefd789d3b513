#include "runtime/engine/engine.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

RequestShape shape_of(const EngineRequest& request, std::int64_t max_new) {
  return {.prompt_tokens = std::ssize(request.prompt), .max_new = max_new, .room = request.room};
}

QueueTerms terms_of(const EngineRequest& request) {
  QueueTerms terms{.urgency = request.urgency,
                   .tenant = request.tenant,
                   .names_limit = request.max_new.has_value()};
  if (request.deadline) {
    terms.deadline = std::chrono::nanoseconds(request.deadline->time_since_epoch()).count();
  }
  return terms;
}

/// Takes the tokens: from then on the engine's ranks have them.
Admission admission_of(RequestId id, EngineRequest& request) {
  return {.request = id,
          .prompt = std::move(request.prompt),
          .forced = std::move(request.forced),
          .top = request.top,
          .sampling = request.sampling};
}

}  // namespace

std::vector<RankSummary> Engine::open(Machine& machine, LoadedModel& model,
                                      const JobOptions& options, const EngineSetup* setup,
                                      const std::function<void(Engine&)>& serve) {
  if (!setup) return run_session(machine, model, options, nullptr);
  Engine engine;
  SessionInput session{.shapes = setup->shapes,
                       .room_gives_way = setup->room_gives_way,
                       .listener = engine.listener(setup->layer)};
  session.drive = [&](Coordinator& coordinator) {
    engine.coordinator_ = &coordinator;
    engine.bounds_ = setup->queue;
    engine.room_ = session.shapes.empty() ? 0 : session.shapes.front().room;
    engine.publish();
    serve(engine);
  };
  return run_session(machine, model, options, &session);
}

Coordinator::Listener Engine::listener(LayerDone layer) {
  return {.prefill = [this](const Progress& chunk) { note_prefill(chunk); },
          .layer = std::move(layer),
          .token = [this](RequestId id, const Scored& scored) { note_token(id, scored); },
          .nll =
              [this](RequestId id, double sum) {
                const Turn& turn = turns_.at(id);
                if (turn.request.on_nll) turn.request.on_nll(sum);
              },
          .finished =
              [this](RequestId id) {
                const Turn& turn = turns_.at(id);
                finish(id, turn.leaves    ? Ending::kAborted
                           : turn.stopped ? Ending::kStopped
                                          : Ending::kLength);
              }};
}

// --- Calls, from any thread

RequestId Engine::submit(EngineRequest request) {
  const auto outcome = try_submit(request);
  if (const Refusal* refusal = std::get_if<Refusal>(&outcome)) throw UsageError(refusal->message);
  return std::get<RequestId>(outcome);
}

std::variant<RequestId, Refusal> Engine::try_submit(EngineRequest& request) {
  const std::int64_t max_new = request.max_new.value_or(longest_answer(request));
  expects(!request.prompt.empty() && (max_new >= 1 || !request.max_new),
          "a request has tokens to read and write");
  const std::lock_guard lock(mutex_);
  if (auto refusal = refusal_of(request, max_new)) return *std::move(refusal);
  const RequestId id = next_id_++;
  known_.emplace(id, Known{.room = request.room});
  ++coming_;
  coming_tokens_ += std::ssize(request.prompt);
  call(id, [this, id, max_new, request = std::move(request)]() mutable {
    begin(id, std::move(request), max_new);
  });
  return id;
}

/// Of a request that names no limit.
std::int64_t Engine::longest_answer(const EngineRequest& request) const {
  const std::int64_t room =
      room_ > 0 ? room_ : coordinator_->schedule().planner(0).longest_request();
  return room - std::ssize(request.prompt);
}

std::optional<Refusal> Engine::refusal_of(const EngineRequest& request,
                                          std::int64_t max_new) const {
  const StepPlanner& planner = coordinator_->schedule().planner(0);  // groups are alike
  const std::int64_t prompt = std::ssize(request.prompt),
                     written = std::max<std::int64_t>(1, max_new);
  const RequestShape shape = shape_of(request, written);
  const std::int64_t waiting = stats_.waiting + coming_;
  const std::int64_t tokens = stats_.waiting_tokens + coming_tokens_;
  if (max_new >= 1 && planner.could_run(shape)) {
    const std::int64_t page_tokens = planner.page_tokens();
    const std::int64_t pages = planner.usable_pages() * coordinator_->schedule().groups();
    return refusal_by(bounds_, pages * page_tokens, waiting, tokens, prompt);
  }
  const bool alone = coordinator_->schedule().groups() == 1;
  return Refusal{
      .reason = Refusal::Reason::kNeverFits,
      .message = str(
          "a request of {} tokens, {} of them to be written, needs {} pages of KV cache, "
          "of which {} {}; one of {} tokens would fit: shorten it, or {}",
          prompt + written, written, worst_pages(shape, planner.page_tokens()),
          alone ? "there are" : "each group has", planner.usable_pages(), planner.longest_request(),
          alone ? "give the job more memory or ranks"
                : "let more ranks share a sequence (--policy static_sp with a higher --degree)"),
      .waiting = waiting,
      .waiting_tokens = tokens};
}

void Engine::extend(RequestId conversation, EngineRequest turn) {
  const std::lock_guard lock(mutex_);
  Known& of = known(conversation);
  if (of.state != State::kHeld) {
    throw UsageError(str("conversation {} is in the middle of a turn", conversation));
  }
  if (!turn.max_new) turn.max_new = std::max<std::int64_t>(1, of.room - std::ssize(turn.prompt));
  const std::int64_t tokens = std::ssize(turn.prompt) + *turn.max_new;
  if (tokens > of.room) {
    throw UsageError(
        str("a turn of {} tokens is more than the conversation's room of {}", tokens, of.room));
  }
  of.state = State::kUnderWay;
  call(conversation, [this, conversation, turn = std::move(turn)]() mutable {
    go_on(conversation, std::move(turn));
  });
}

void Engine::abort(RequestId id) {
  const std::lock_guard lock(mutex_);
  if (known(id).state == State::kHeld) {
    throw UsageError(str("conversation {} is at the end of a turn: there is nothing to abort", id));
  }
  call(id, [this, id] { end(id); }, true);
}

void Engine::forget(RequestId conversation) {
  const std::lock_guard lock(mutex_);
  (void)known(conversation);
  known_.erase(conversation);
  call(conversation, [this, conversation] { drop(conversation); }, true);
}

void Engine::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  called_.notify_all();
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats now = stats_;
  now.waiting += coming_;
  now.waiting_tokens += coming_tokens_;
  return now;
}

Engine::Known& Engine::known(RequestId id) {
  const auto found = known_.find(id);
  if (found == known_.end()) {
    throw UsageError(str("there is no request {}: it has finished, or never was", id));
  }
  return found->second;
}

void Engine::call(RequestId request, std::function<void()> action, bool aborts) {
  calls_.push_back({request, std::move(action), aborts});
  called_.notify_all();
  coordinator_->wake();
}

// --- Steps, by one thread

bool Engine::step() {
  heed_calls();
  const bool did_something = coordinator_->step();
  publish();
  const std::lock_guard lock(mutex_);
  return did_something || !calls_.empty();
}

void Engine::run() {
  for (;;) {
    const bool more = step();
    std::unique_lock lock(mutex_);
    if (!more) called_.wait(lock, [this] { return stopping_ || !calls_.empty(); });
    if (stopping_) return;
  }
}

/// Those of callbacks too: what a request's end makes somebody submit begins with this step. What
/// concerns a request in the middle of a step waits for its end; so calls of one stay in order.
void Engine::heed_calls() {
  std::vector<Call> calls = std::exchange(put_off_, {});
  do {
    for (Call& call : calls) {
      if (coordinator_->is_between_steps(call.request)) {
        call.action();
      } else {
        put_off(std::move(call));
      }
    }
    const std::lock_guard lock(mutex_);
    calls = std::exchange(calls_, {});
  } while (!calls.empty());
}

/// Until the step under way is done and, in a run, one that may have begun.
void Engine::put_off(Call call) {
  coordinator_->make_way_for(call.request);
  const auto turn = turns_.find(call.request);
  if (call.aborts && turn != turns_.end()) turn->second.leaves = true;
  put_off_.push_back(std::move(call));
}

void Engine::begin(RequestId id, EngineRequest request, std::int64_t max_new) {
  const std::int64_t prompt_tokens = std::ssize(request.prompt);
  {
    const std::lock_guard lock(mutex_);
    --coming_;
    coming_tokens_ -= prompt_tokens;
    ++stats_.waiting;  // until all of it is published
    stats_.waiting_tokens += prompt_tokens;
  }
  Admission admission = admission_of(id, request);
  const Turn& turn = turns_[id] = {.request = std::move(request), .prompt_tokens = prompt_tokens};
  const bool fits = coordinator_->submit(
      std::move(admission), max_new, turn.request.wants_nll, turn.request.room,
      {.like = turn.request.like, .cache_salt = turn.request.cache_salt}, terms_of(turn.request));
  expects(fits, "what could not run was refused");
}

void Engine::go_on(RequestId id, EngineRequest request) {
  Admission admission = admission_of(id, request);
  const Turn& turn =
      turns_[id] = {.request = std::move(request), .prompt_tokens = std::ssize(admission.prompt)};
  const auto kept = coordinator_->extend(std::move(admission), *turn.request.max_new);
  expects(kept.has_value(), "what does not fit the room was refused");
}

void Engine::end(RequestId id) {
  if (!turns_.contains(id)) return;  // it has finished since
  coordinator_->end(id);
  finish(id, Ending::kAborted);
}

void Engine::drop(RequestId id) {
  coordinator_->forget(id);
  if (turns_.contains(id)) finish(id, Ending::kAborted);
}

/// Of a request that had gone back to waiting what it had read is not told again.
void Engine::note_prefill(Progress chunk) {
  Turn& turn = turns_.at(chunk.request);
  const std::int64_t end = std::min(chunk.prompt_done + chunk.prompt_chunk, turn.prompt_tokens);
  const std::int64_t first = std::max(chunk.prompt_done, turn.told);
  const std::int64_t fresh = std::max<std::int64_t>(0, end - first);
  turn.told = std::max(turn.told, end);
  counts_.prompt_tokens += fresh;
  counts_.read_again += chunk.prompt_chunk - fresh;
  if (!std::exchange(turn.begun, true)) {
    counts_.hit_tokens += chunk.prompt_done;
  } else if (fresh == 0) {
    return;
  }
  chunk.prompt_done = first;
  chunk.prompt_chunk = fresh;
  chunk.prompt_total = turn.prompt_tokens;
  if (turn.request.on_prefill) turn.request.on_prefill(chunk);
}

void Engine::note_token(RequestId id, const Scored& scored) {
  Turn& turn = turns_.at(id);
  ++counts_.tokens;
  if (turn.leaves) return;
  ++turn.tokens;
  turn.stopped = std::ranges::count(turn.request.sampling.stops, scored.chosen.id) > 0;
  if (turn.request.on_token) turn.request.on_token(scored);
}

/// All is as it will be before anybody hears of it: who does may submit the next turn.
void Engine::finish(RequestId id, Ending ending) {
  const Turn turn = std::move(turns_.extract(id).mapped());
  {
    const std::lock_guard lock(mutex_);
    const auto conversation = coordinator_->holds(id) ? known_.find(id) : known_.end();
    if (conversation != known_.end()) {
      conversation->second.state = State::kHeld;
    } else {
      known_.erase(id);  // or somebody forgot it in this very step
    }
  }
  if (turn.request.on_finished) turn.request.on_finished({ending, turn.tokens});
}

void Engine::publish() {
  const GroupSchedule& schedule = coordinator_->schedule();
  EngineStats now = counts_;  // of requests; the rest is summed over groups
  now.steps = coordinator_->steps();
  now.plans = coordinator_->plans();
  for (int group = 0; group < schedule.groups(); ++group) {
    const StepPlanner& planner = schedule.planner(group);
    const PageCounts& pages = planner.ledger().counts();
    const PoolPromise promise = planner.ledger().promise();
    now.waiting += planner.waiting();
    now.waiting_tokens += planner.waiting_tokens();
    now.preempted += planner.preemptions();
    now.running += planner.running();
    now.held += planner.held();
    now.kv_pages += promise.capacity;
    now.kv_in_use += pages.at(PageState::kLive) + pages.at(PageState::kReserved);
    now.kv_cached += pages.at(PageState::kCached);
    now.kv_promised += promise.promised;
    const TierCounts tier = planner.tier_counts();
    now.tier_pages += tier.kept;
    now.tier_bytes += tier.kept * planner.options().page_bytes;
    now.fetched_tokens += tier.fetched * planner.page_tokens();
    now.copied_tokens += planner.copied() * planner.page_tokens();
  }
  const PrefixCounts& prefixes = schedule.prefix_counts();
  now.prefixes_joined = prefixes.joined;
  now.prefixes_replicated = prefixes.replicated;
  now.prefixes_recomputed = prefixes.recomputed;
  const std::lock_guard lock(mutex_);
  stats_ = now;
}

}  // namespace longspan
