// How the coordinator's steps begin and end.
#include <algorithm>
#include <utility>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"
#include "runtime/engine/coordinator.h"
#include "runtime/engine/state_json.h"

namespace longspan {

bool Coordinator::step() {
  write_wanted_states();
  for (int group = 0; group < schedule_.groups(); ++group) {
    const GroupSteps& steps = groups_[group];
    if (!steps.under_way) {
      begin_step(group);
    } else if (!steps.line->has_thread()) {
      steps.line->go_on();
    }
  }
  const auto is_busy = [](const GroupSteps& group) { return group.under_way.has_value(); };
  if (std::ranges::none_of(groups_, is_busy)) return false;
  const auto can_be_told = [&](const GroupSteps& group) {
    return !group.under_way || group.under_way->run.goes_on();
  };
  if (std::ranges::none_of(groups_, can_be_told)) {
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
    if (steps.state_wanted) make_way(steps);
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
  ++plans_;
  admit_again(plan->preempted);
  drop(plan->finished);
  StepOrder order{.plan = *plan, .strategies = {}, .decode_strategy = decode_strategy_};
  if (plan->run.goes_on()) order.leader = steps.line->leader_of(*plan);
  std::vector<StrategyChoice> choices;  // of each chunk
  for (const PrefillChunk& chunk : plan->prefill) {
    choices.push_back(
        picker_.pick(chunk, prompt_tokens_[chunk.request], planner.owners(chunk.request)));
    order.strategies.push_back(choices.back().plan.strategy);
    log(LogLevel::kDebug, str("chunk of {} tokens at {}: {}", chunk.count, chunk.first,
                              describe(choices.back(), std::ssize(chunk.group))));
  }
  tell_of_chunks(*plan, choices);
  have_pages_sent(*plan);
  const bool tells_all = concerns_all(*plan);
  const bool prefills = !plan->prefill.empty();
  DecodeRun run = std::exchange(plan->run, {});
  steps.under_way =
      UnderWay{.plan = *std::move(plan), .run = std::move(run), .handed_out = handed_out(group)};
  steps.line->step(std::move(order), tells_all, prefills ? listener_.layer : nullptr);
}

/// By the ranks of other groups, of which some may be in the middle of a run. All hear of such
/// pages in one order, since those who send are told of them with those who receive: so nobody
/// waits for somebody who waits.
void Coordinator::have_pages_sent(const StepPlan& plan) {
  std::map<int, std::vector<PageSend>> by_group;
  for (const PageFetch& fetch : plan.fetches) {
    if (!fetch.sent) continue;
    by_group[schedule_.group_with(fetch.from.owner)].push_back({fetch.from, fetch.at.owner});
  }
  for (auto& [group, pages] : by_group) {
    groups_[group].line->end_run();
    groups_[group].line->send_pages(std::move(pages));
  }
}

/// As the ranks have them when they have done what was planned last.
std::vector<std::int64_t> Coordinator::handed_out(int group) const {
  const StepPlanner& planner = schedule_.planner(group);
  std::vector<std::int64_t> pages(planner.options().capacity.size());
  for (const int instance : planner.options().group) {
    const PageCounts& counts = planner.ledger().counts(instance);
    pages[instance] = counts.at(PageState::kLive) + counts.at(PageState::kReserved);
  }
  return pages;
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

/// What a step that went well has sampled, of rows that were not told before: those that compute
/// again what they computed before they went back to waiting. From then on it is over, or of the
/// run under way.
std::vector<const RowResult*> Coordinator::take(const StepOutcome& outcome) {
  if (outcome.failure) std::rethrow_exception(outcome.failure);
  GroupSteps& group = groups_[outcome.group];
  UnderWay& now = group.under_way.value();
  if (outcome.is_step && std::exchange(now.has_step, true)) {
    expects(step_on(now.plan, now.run, std::exchange(now.sampled, {})), "a step follows");
  }
  check(now, outcome);
  std::vector<const RowResult*> rows = rows_of(outcome.reports);
  std::erase_if(rows, [&](const RowResult* row) {
    return std::ranges::count(now.plan.known, row->request) > 0;
  });
  now.sampled = sampled(rows);
  if (outcome.is_step) {
    ++steps_;
    if (costs_ && !now.plan.only_waits()) costs_->note(now.plan, outcome.took);
  }
  if (outcome.over) group.under_way.reset();
  return rows;
}

void Coordinator::end_step(const StepOutcome& outcome) {
  const std::vector<const RowResult*> rows = take(outcome);
  note_tier(outcome);
  if (!outcome.is_step) return;
  tell_of(outcome, rows);
  const std::vector<SampledToken> tokens = sampled(rows);
  const std::vector<RequestId> ended_now = schedule_.completed(outcome.group, tokens);
  name_answers(tokens);
  for (const RequestId ended : ended_now) {
    if (listener_.finished) listener_.finished(ended);
  }
}

void Coordinator::tell_of(const StepOutcome& outcome, const std::vector<const RowResult*>& rows) {
  for (const RowResult* row : rows) {
    const auto conversation = conversations_.find(row->request);
    if (conversation != conversations_.end()) {
      conversation->second.tokens.push_back(row->scored.chosen.id);
    }
    listener_.token(row->request, row->scored);
  }
  std::map<RequestId, double> nll;  // summed in order of the reports
  for (const RankReport& from : outcome.reports) {
    for (const NllSum& part : from.report.nll) nll[part.request] += part.sum;
  }
  for (const auto& [request, sum] : nll) listener_.nll(request, sum);
}

/// Two that count the same thing: what was told wrongly, or done wrongly, shows here.
void Coordinator::check(const UnderWay& now, const StepOutcome& outcome) const {
  for (const auto& [rank, report] : outcome.reports) {
    if (report.epoch != now.plan.epoch) {
      throw CommError(
          str("rank {} reported step {} while step {} ran", rank, report.epoch, now.plan.epoch));
    }
    const std::int64_t handed_out = now.handed_out.at(worker_.ranks().instance_of(rank));
    if (!outcome.over || report.kv_pages == handed_out) continue;
    throw Error(ExitCode::kInternal,
                str("rank {} has {} pages of KV in use after step {}, and the ledger handed out {}",
                    rank, report.kv_pages, report.epoch, handed_out));
  }
}

}  // namespace longspan
