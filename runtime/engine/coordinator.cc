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

Coordinator::Coordinator(ControlChannel& control, StepWorker& worker, PlannerOptions options,
                         StrategyPickerOptions strategies, Listener listener)
    : control_(control),
      worker_(worker),
      planner_(std::move(options)),
      picker_(std::move(strategies)),
      listener_(std::move(listener)) {}

std::vector<int> Coordinator::others() const {
  std::vector<int> ranks;
  for (int rank = 1; rank < control_.size(); ++rank) ranks.push_back(rank);
  return ranks;
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
  if (!planner_.could_run(shape)) return false;
  if (prefixes_ && room == 0) shape.names = begin_names(admission, sharing.cache_salt);
  if (!planner_.submit(shape)) return false;
  if (room > 0) conversations_[shape.id].room = room;
  if (planner_.may_go_back(shape)) kept_[shape.id] = admission;
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
    if (!names.empty()) planner_.name_more(one.request, names);
  }
}

std::optional<std::int64_t> Coordinator::extend(Admission admission, std::int64_t max_new) {
  const Conversation& before = conversations_.at(admission.request);
  const auto common = std::ranges::mismatch(before.tokens, admission.prompt).in1;
  const std::optional<std::int64_t> keep =
      planner_.extend(shape_of(admission, max_new), common - before.tokens.begin());
  if (!keep) return std::nullopt;
  admission.length = before.room;
  admit(std::move(admission));
  return keep;
}

/// On all ranks. All tokens of one that goes on travel again, so that nothing drawn from them, as
/// what penalties look back on, can differ from a request that begins.
void Coordinator::admit(Admission admission) {
  const RequestId id = admission.request;
  prompt_tokens_[id] = admission.to_read();
  looking_back_.erase(id);
  if (admission.sampling.looks_back()) looking_back_.insert(id);
  const auto conversation = conversations_.find(id);
  if (conversation != conversations_.end()) conversation->second.tokens = admission.prompt;
  control_.send(others(), to_message(admission));
  worker_.admit(std::move(admission));
}

/// Before the plan by which ranks forget the pages of those that have gone back to waiting: what
/// these have written is read with their prompts.
void Coordinator::admit_again(const std::vector<RequestId>& preempted) {
  for (const RequestId id : preempted) {
    picker_.forget(id);
    Admission admission = kept_.at(id);
    const std::span<const std::int32_t> written = planner_.read_again(id);
    admission.written.assign(written.begin(), written.end());
    admit(std::move(admission));
  }
}

void Coordinator::forget(RequestId request) {
  planner_.abort(request);
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
  if (state_wanted_ && state_wanted_()) write_state(planner_.state());
  std::optional<StepPlan> plan = planner_.next(costs_ ? &costs_->costs() : nullptr, now());
  if (!plan) return false;
  StepOrder order{.plan = std::move(*plan), .decode_strategy = decode_strategy_};
  admit_again(order.plan.preempted);
  drop(order.plan.finished);
  std::vector<StrategyChoice> choices;  // of each chunk
  for (const PrefillChunk& chunk : order.plan.prefill) {
    choices.push_back(
        picker_.pick(chunk, prompt_tokens_[chunk.request], planner_.owners(chunk.request)));
    order.strategies.push_back(choices.back().plan.strategy);
    log(LogLevel::kDebug, str("chunk of {} tokens at {}: {}", chunk.count, chunk.first,
                              describe(choices.back(), std::ssize(chunk.group))));
  }
  const Nanoseconds begun = now();
  run(order, choices);
  if (costs_) costs_->note(order.plan, std::max<Nanoseconds>(1, now() - begun));
  return true;
}

void Coordinator::run(const StepOrder& order, const std::vector<StrategyChoice>& choices) {
  announce(order);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const PrefillChunk& chunk = order.plan.prefill[i];
    const std::int64_t prompt = prompt_tokens_[chunk.request];
    listener_.prefill({chunk.request, chunk.first, chunk.count, prompt, &choices[i]});
    for (const RequestId fork : chunk.forks) {
      listener_.prefill({fork, prompt, 0, prompt, &choices[i]});
    }
  }
  const bool prefills = !order.plan.prefill.empty();
  collect(order.plan, worker_.execute(order, prefills ? listener_.layer : nullptr));
}

/// To the group; to everyone when requests have finished or wait again, are forked, or pages move
/// or get owners, since any rank may hold them, and when rows look back.
void Coordinator::announce(const StepOrder& order) {
  const StepPlan& plan = order.plan;
  const bool of_pages = !plan.finished.empty() || !plan.preempted.empty() || !plan.moves.empty() ||
                        !plan.forks.empty() || !plan.owners.empty();
  const bool looks_back = std::ranges::any_of(
      plan.decode, [&](const DecodeStep& row) { return looking_back_.contains(row.request); });
  std::vector<int> peers = of_pages || looks_back ? others() : worker_.ranks().all(plan.group);
  std::erase(peers, control_.rank());
  control_.send(peers, to_message(order));
}

void Coordinator::collect(const StepPlan& plan, const StepReport& own) {
  compare_with_ledger(control_.rank(), own);
  std::vector<StepReport> reports{own};
  for (int rank : worker_.ranks().all(plan.group)) {
    if (rank == control_.rank()) continue;
    reports.push_back(read_report(control_.receive(rank)));
    if (reports.back().epoch != plan.epoch) {
      throw CommError(str("rank {} reported step {} while step {} ran", rank, reports.back().epoch,
                          plan.epoch));
    }
    compare_with_ledger(rank, reports.back());
  }
  std::vector<SampledToken> sampled;
  std::map<RequestId, double> nll;  // summed in rank order
  for (const StepReport& report : reports) {
    for (const RowResult& row : report.rows) {
      if (std::ranges::count(plan.known, row.request) > 0) continue;  // told before
      sampled.push_back({row.request, row.scored.chosen.id});
      const auto conversation = conversations_.find(row.request);
      if (conversation != conversations_.end()) {
        conversation->second.tokens.push_back(row.scored.chosen.id);
      }
      listener_.token(row.request, row.scored);
    }
    for (const NllSum& part : report.nll) nll[part.request] += part.sum;
  }
  for (const auto& [request, sum] : nll) listener_.nll(request, sum);
  const std::vector<RequestId> ended_now = planner_.completed(sampled);
  name_answers(sampled);
  for (const RequestId ended : ended_now) {
    if (listener_.finished) listener_.finished(ended);
  }
}

/// Two that count the same thing: what was told wrongly, or done wrongly, shows here.
void Coordinator::compare_with_ledger(int rank, const StepReport& report) const {
  const PageCounts& counts = planner_.ledger().counts(worker_.ranks().instance_of(rank));
  const std::int64_t handed_out = counts.at(PageState::kLive) + counts.at(PageState::kReserved);
  if (report.kv_pages == handed_out) return;
  throw Error(ExitCode::kInternal,
              str("rank {} has {} pages of KV in use after step {}, and the ledger handed out {}",
                  rank, report.kv_pages, report.epoch, handed_out));
}

std::vector<RankSummary> Coordinator::stop() {
  control_.send(others(), {MessageType::kStop, {}});
  std::vector<RankSummary> summaries{worker_.summary()};
  for (int rank : others()) summaries.push_back(read_summary(control_.receive(rank)));
  if (const auto violation = planner_.ledger().check()) {
    throw Error(ExitCode::kInternal, str("the page ledger is wrong: {}", *violation));
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
