#include "runtime/engine/coordinator.h"

#include <algorithm>
#include <chrono>
#include <span>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"
#include "runtime/engine/session_messages.h"
#include "runtime/engine/state_json.h"

namespace longspan {
namespace {

RequestShape shape_of(const Admission& admission, std::int64_t max_new) {
  return {.id = admission.request,
          .prompt_tokens = std::ssize(admission.prompt),
          .max_new = max_new,
          .stop_tokens = admission.sampling.stops};
}

/// By a clock that never goes back.
Nanoseconds now() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Coordinator::Coordinator(ControlChannel& control, StepWorker& worker, GroupSchedule schedule,
                         StrategyPickerOptions strategies, Listener listener)
    : control_(control),
      worker_(worker),
      schedule_(std::move(schedule)),
      picker_(std::move(strategies)),
      listener_(std::move(listener)),
      groups_(schedule_.groups()) {
  for (int group = 0; group < schedule_.groups(); ++group) {
    groups_[group].line = std::make_unique<GroupLine>(
        control_, worker_,
        GroupLine::Setting{
            .group = group,
            .instances = schedule_.planner(group).options().group,
            .has_thread = schedule_.groups() > 1,
            .done = [this](StepOutcome outcome) { outcomes_.put(std::move(outcome)); }});
  }
}

Coordinator::GroupSteps& Coordinator::steps_of(RequestId request) {
  const auto group = schedule_.group_of(request);
  expects(group.has_value(), "a request that is known has a group");
  return groups_[*group];
}

bool Coordinator::is_between_steps(RequestId request) const {
  const auto group = schedule_.group_of(request);
  return !group || !groups_[*group].under_way;
}

bool Coordinator::submit(Admission admission, std::int64_t max_new, bool wants_nll,
                         std::int64_t room, const Sharing& sharing, const QueueTerms& terms) {
  RequestShape shape = shape_of(admission, max_new);
  shape.wants_nll = wants_nll;
  shape.room = room;
  shape.like = sharing.like;
  shape.arrival = now();
  shape.urgency = terms.urgency;
  shape.tenant = terms.tenant;
  shape.deadline = terms.deadline;
  shape.names_limit = terms.names_limit;
  admission.length = room > 0 ? room : shape.prompt_tokens + max_new;
  if (!schedule_.could_run(shape)) return false;
  if (prefixes_ && room == 0) shape.names = begin_names(admission, sharing.cache_salt);
  if (!schedule_.submit(shape, costs())) return false;
  if (room > 0) conversations_[shape.id].room = room;
  if (schedule_.planner_of(shape.id).may_go_back(shape)) kept_[shape.id] = admission;
  admit(std::move(admission));
  return true;
}

/// Of the prompt's pages. No two pairs of a length and a salt make one text.
std::vector<PageHash> Coordinator::begin_names(const Admission& admission,
                                               const std::string& cache_salt) {
  const PageNames& names = prefixes_->names;
  PageNames::Chain chain =
      names.begin(str("{} {}", prefixes_->by_length ? admission.length : 0, cache_salt));
  std::vector<PageHash> list = names.go_on(chain, admission.prompt);
  if (prefixes_->answers) answers_[admission.request] = std::move(chain);
  return list;
}

/// A token is computed, and may fill a page, with the step after the one that samples it.
void Coordinator::name_answers(const std::vector<SampledToken>& sampled) {
  for (const SampledToken& one : sampled) {
    const auto answer = answers_.find(one.request);
    if (answer == answers_.end()) continue;
    const auto names = prefixes_->names.go_on(answer->second, {&one.token, 1});
    if (!names.empty()) schedule_.name_more(one.request, names);
  }
}

std::optional<std::int64_t> Coordinator::extend(Admission admission, std::int64_t max_new) {
  expects(is_between_steps(admission.request), "a request goes on between its group's steps");
  const Conversation& before = conversations_.at(admission.request);
  const auto common = std::ranges::mismatch(before.tokens, admission.prompt).in1;
  const std::optional<std::int64_t> keep =
      schedule_.extend(shape_of(admission, max_new), common - before.tokens.begin());
  if (!keep) return std::nullopt;
  admission.length = before.room;
  admit(std::move(admission));
  return keep;
}

/// On all ranks of its group. All tokens of one that goes on travel again, so that nothing drawn
/// from them, as what penalties look back on, can differ from a request that begins.
void Coordinator::admit(Admission admission) {
  const RequestId id = admission.request;
  prompt_tokens_[id] = admission.to_read();
  looking_back_.erase(id);
  if (admission.sampling.looks_back()) looking_back_.insert(id);
  const auto conversation = conversations_.find(id);
  if (conversation != conversations_.end()) conversation->second.tokens = admission.prompt;
  steps_of(id).line->admit(std::move(admission));
}

void Coordinator::end(RequestId request) {
  expects(is_between_steps(request), "a request ends between its group's steps");
  schedule_.end(request);
}

/// Before the plan by which ranks forget the pages of those that have gone back to waiting: what
/// these have written is read with their prompts.
void Coordinator::admit_again(const std::vector<RequestId>& preempted) {
  for (const RequestId id : preempted) {
    picker_.forget(id);
    const auto kept = kept_.find(id);
    if (kept == kept_.end()) continue;  // it has written nothing
    Admission admission = kept->second;
    const std::span<const std::int32_t> written = schedule_.planner_of(id).read_again(id);
    admission.written.assign(written.begin(), written.end());
    admit(std::move(admission));
  }
}

void Coordinator::forget(RequestId request) {
  expects(is_between_steps(request), "a request is forgotten between its group's steps");
  schedule_.abort(request);
  conversations_.erase(request);
}

void Coordinator::drop(const std::vector<RequestId>& finished) {
  for (const RequestId request : finished) {
    picker_.forget(request);
    prompt_tokens_.erase(request);
    answers_.erase(request);
    kept_.erase(request);
    looking_back_.erase(request);
  }
}

bool Coordinator::step() {
  write_wanted_states();
  for (int group = 0; group < schedule_.groups(); ++group) {
    if (!groups_[group].under_way) begin_step(group);
  }
  const auto is_busy = [](const GroupSteps& group) { return group.under_way.has_value(); };
  if (std::ranges::none_of(groups_, is_busy)) return false;
  if (std::ranges::all_of(groups_, is_busy)) {
    end_step(outcomes_.next());
  } else if (const auto outcome = outcomes_.next_unless_woken()) {
    end_step(*outcome);
  }
  return true;
}

/// Of groups between steps; the others' turn comes.
void Coordinator::write_wanted_states() {
  const bool wanted = state_wanted_ && state_wanted_();
  for (int group = 0; group < schedule_.groups(); ++group) {
    GroupSteps& steps = groups_[group];
    steps.state_wanted |= wanted;
    if (!steps.state_wanted || steps.under_way) continue;
    steps.state_wanted = false;
    const bool alone = schedule_.groups() == 1;
    write_state(schedule_.planner(group).state(), alone ? std::nullopt : std::optional(group));
  }
}

/// If there is something to do.
void Coordinator::begin_step(int group) {
  GroupSteps& steps = groups_[group];
  const StepPlanner& planner = schedule_.planner(group);
  std::optional<StepPlan> plan =
      schedule_.next(group, planner.options().target ? costs() : nullptr, now());
  if (!plan) return;
  const StepOrder& order = steps.under_way.emplace(
      StepOrder{.plan = std::move(*plan), .strategies = {}, .decode_strategy = decode_strategy_});
  admit_again(order.plan.preempted);
  drop(order.plan.finished);
  std::vector<StrategyChoice> choices;  // of each chunk
  for (const PrefillChunk& chunk : order.plan.prefill) {
    choices.push_back(
        picker_.pick(chunk, prompt_tokens_[chunk.request], planner.owners(chunk.request)));
    steps.under_way->strategies.push_back(choices.back().plan.strategy);
    log(LogLevel::kDebug, str("chunk of {} tokens at {}: {}", chunk.count, chunk.first,
                              describe(choices.back(), std::ssize(chunk.group))));
  }
  tell_of_chunks(order.plan, choices);
  const bool prefills = !order.plan.prefill.empty();
  steps.line->step(order, concerns_all(order.plan), prefills ? listener_.layer : nullptr);
}

void Coordinator::tell_of_chunks(const StepPlan& plan,
                                 const std::vector<StrategyChoice>& choices) const {
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const PrefillChunk& chunk = plan.prefill[i];
    const std::int64_t prompt = prompt_tokens_.at(chunk.request);
    listener_.prefill({chunk.request, chunk.first, chunk.count, prompt, &choices[i]});
    for (const RequestId fork : chunk.forks) {
      listener_.prefill({fork, prompt, 0, prompt, &choices[i]});
    }
  }
}

/// When requests have finished or wait again, are forked, or pages are evicted, move or get owners,
/// since any rank of the group may hold them, and when rows look back.
bool Coordinator::concerns_all(const StepPlan& plan) const {
  return !plan.finished.empty() || !plan.preempted.empty() || !plan.moves.empty() ||
         !plan.forks.empty() || !plan.owners.empty() || !plan.spills.empty() ||
         std::ranges::any_of(plan.decode, [&](const DecodeStep& row) {
           return looking_back_.contains(row.request);
         });
}

/// The step that has ended, if it went well.
StepOrder Coordinator::take(const StepOutcome& outcome) {
  if (outcome.failure) std::rethrow_exception(outcome.failure);
  StepOrder order = std::move(groups_[outcome.group].under_way).value();
  groups_[outcome.group].under_way.reset();
  for (const RankReport& from : outcome.reports) {
    if (from.report.epoch != order.plan.epoch) {
      throw CommError(str("rank {} reported step {} while step {} ran", from.rank,
                          from.report.epoch, order.plan.epoch));
    }
    compare_with_ledger(outcome.group, from);
  }
  return order;
}

void Coordinator::end_step(const StepOutcome& outcome) {
  const StepOrder order = take(outcome);
  ++steps_;
  if (costs_ && !order.plan.only_waits()) costs_->note(order.plan, outcome.took);
  const std::vector<SampledToken> sampled = note_tokens(outcome, order.plan.known);
  note_tier(outcome);
  const std::vector<RequestId> ended_now = schedule_.completed(outcome.group, sampled);
  name_answers(sampled);
  for (const RequestId ended : ended_now) {
    if (listener_.finished) listener_.finished(ended);
  }
}

/// `known`: rows that compute again what they computed before they went back to waiting.
std::vector<SampledToken> Coordinator::note_tokens(const StepOutcome& outcome,
                                                   const std::vector<RequestId>& known) {
  std::vector<SampledToken> sampled;
  std::map<RequestId, double> nll;  // summed in order of the reports
  for (const RankReport& from : outcome.reports) {
    for (const RowResult& row : from.report.rows) {
      if (std::ranges::count(known, row.request) > 0) continue;  // told before
      sampled.push_back({row.request, row.scored.chosen.id});
      const auto conversation = conversations_.find(row.request);
      if (conversation != conversations_.end()) {
        conversation->second.tokens.push_back(row.scored.chosen.id);
      }
      listener_.token(row.request, row.scored);
    }
    for (const NllSum& part : from.report.nll) nll[part.request] += part.sum;
  }
  for (const auto& [request, sum] : nll) listener_.nll(request, sum);
  return sampled;
}

/// Two that count the same thing: what was told wrongly, or done wrongly, shows here.
void Coordinator::compare_with_ledger(int group, const RankReport& from) const {
  const int instance = worker_.ranks().instance_of(from.rank);
  const PageCounts& counts = schedule_.planner(group).ledger().counts(instance);
  const std::int64_t handed_out = counts.at(PageState::kLive) + counts.at(PageState::kReserved);
  if (from.report.kv_pages == handed_out) return;
  throw Error(ExitCode::kInternal,
              str("rank {} has {} pages of KV in use after step {}, and the ledger handed out {}",
                  from.rank, from.report.kv_pages, from.report.epoch, handed_out));
}

void Coordinator::settle() {
  for (GroupSteps& group : groups_) await(group);
}

/// What ends meanwhile is told too.
void Coordinator::await(GroupSteps& group) {
  while (group.under_way) end_step(outcomes_.next());
}

std::vector<RankSummary> Coordinator::stop() {
  for (GroupSteps& group : groups_) {
    while (group.under_way) (void)take(outcomes_.next());
  }
  groups_.clear();  // from here on the worker is this thread's
  std::vector<int> others;
  for (int rank = 1; rank < control_.size(); ++rank) others.push_back(rank);
  control_.send(others, {MessageType::kStop, {}});
  std::vector<RankSummary> summaries{worker_.summary()};
  for (const int rank : others) summaries.push_back(read_summary(control_.receive(rank)));
  for (int group = 0; group < schedule_.groups(); ++group) {
    if (const auto violation = schedule_.planner(group).ledger().check()) {
      throw Error(ExitCode::kInternal, str("the page ledger is wrong: {}", *violation));
    }
  }
  return summaries;
}

void follow_coordinator(ControlChannel& control, StepWorker& worker) {
  for (;;) {
    const Message message = control.receive(0, Patience::forever());
    switch (message.type) {
      case MessageType::kAdmission:
        worker.admit(read_admission(message));
        break;
      case MessageType::kPlan: {
        const StepOrder order = read_order(message);
        const StepReport report = worker.execute(order);
        if (worker.takes_part(order.plan)) control.send({0}, to_message(report));
        break;
      }
      case MessageType::kStop:
        control.send({0}, to_message(worker.summary()));
        return;
      case MessageType::kSavePages:
        control.send({0}, to_message(worker.save_pages(read_save_pages(message))));
        break;
      case MessageType::kRestorePages:
        control.send({0}, to_message(worker.restore_pages(read_restore_pages(message))));
        break;
      case MessageType::kReport:
      case MessageType::kPagesReport:
      case MessageType::kSummary:
        throw CommError("the coordinator sent a message that only workers send");
    }
  }
}

}  // namespace longspan
