#include "runtime/engine/coordinator.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/engine/run_leader.h"
#include "runtime/engine/session_messages.h"

namespace longspan {
namespace {

RequestShape shape_of(const Admission& admission, std::int64_t max_new) {
  return {.id = admission.request,
          .prompt_tokens = std::ssize(admission.prompt),
          .max_new = max_new,
          .stop_tokens = admission.sampling.stops,
          .looks_back = admission.sampling.looks_back()};
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

Nanoseconds Coordinator::now() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Coordinator::GroupSteps& Coordinator::steps_of(RequestId request) {
  const auto group = schedule_.group_of(request);
  expects(group.has_value(), "a request that is known has a group");
  return groups_[*group];
}

bool Coordinator::is_between_steps(RequestId request) const {
  const auto group = schedule_.group_of(request);
  return !group || !groups_[*group].under_way || !groups_[*group].line->has_thread();
}

void Coordinator::make_way_for(RequestId request) {
  if (const auto group = schedule_.group_of(request)) make_way(groups_[*group]);
}

/// Without a thread the run pauses, and ends here and now.
void Coordinator::make_way(GroupSteps& group) {
  if (!group.under_way) return;
  ask_to_end(group);
  if (!group.line->has_thread()) end_step(outcomes_.next());
}

void Coordinator::ask_to_end(GroupSteps& group) {
  group.line->end_run();
  if (!group.line->has_thread()) group.line->go_on();
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
  make_way_for(shape.id);  // it may start
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
  make_way_for(admission.request);
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
  make_way_for(request);
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
  make_way_for(request);
  schedule_.abort(request);
  conversations_.erase(request);
}

bool Coordinator::move_page(RequestId request, std::int64_t page, int to) {
  if (!is_between_steps(request)) return false;
  make_way_for(request);
  return schedule_.move(request, page, to);
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

void Coordinator::settle() {
  for (GroupSteps& group : groups_) group.line->end_run();
  for (GroupSteps& group : groups_) await(group);
}

/// What ends meanwhile is told too.
void Coordinator::await(GroupSteps& group) {
  if (group.under_way) ask_to_end(group);
  while (group.under_way) end_step(outcomes_.next());
}

std::vector<RankSummary> Coordinator::stop() {
  for (GroupSteps& group : groups_) {
    if (group.under_way) ask_to_end(group);
    while (group.under_way) (void)take(outcomes_.next());
  }
  for (GroupSteps& group : groups_) group.line->call([] {});  // pages that others wait for are sent
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

namespace {

void follow_plan(ControlChannel& control, StepWorker& worker, StepOrder order) {
  const bool leads = order.leader == control.rank(), runs = order.leader != StepOrder::kNobody;
  if (leads) return lead_run(control, worker, std::move(order));
  const bool takes_part = worker.takes_part(order.plan);
  if (runs && takes_part) return follow_run(control, worker, std::move(order));
  const StepReport report = worker.execute(order);
  if (takes_part) control.send({0}, to_message(report));
}

}  // namespace

void follow_coordinator(ControlChannel& control, StepWorker& worker) {
  for (;;) {
    const Message message = control.receive(0, Patience::forever());
    switch (message.type) {
      case MessageType::kAdmission:
        worker.admit(read_admission(message));
        break;
      case MessageType::kPlan:
        follow_plan(control, worker, read_order(message));
        break;
      case MessageType::kSendPages:
        worker.send_pages(read_page_sends(message));
        break;
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
      case MessageType::kRunReport:
        throw CommError("the coordinator sent a message that only workers send");
      case MessageType::kRunEnd:
      case MessageType::kRunWord:
        throw CommError("there is no run to end");
    }
  }
}

}  // namespace longspan
