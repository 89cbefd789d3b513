#include "runtime/engine/coordinator.h"

#include <algorithm>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {

Coordinator::Coordinator(ControlChannel& control, Worker& worker, PlannerOptions options,
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

bool Coordinator::submit(Admission admission, std::int64_t max_new, bool wants_nll) {
  admission.length = std::ssize(admission.prompt) + max_new;
  const RequestShape shape{.id = admission.request,
                           .prompt_tokens = std::ssize(admission.prompt),
                           .max_new = max_new,
                           .stop_tokens = admission.sampling.stops,
                           .wants_nll = wants_nll};
  if (!planner_.submit(shape)) return false;
  prompt_tokens_[shape.id] = shape.prompt_tokens;
  if (admission.sampling.looks_back()) looking_back_.insert(shape.id);
  control_.send(others(), to_message(admission));
  worker_.admit(std::move(admission));
  return true;
}

bool Coordinator::step() {
  std::optional<StepPlan> plan = planner_.next();
  if (!plan) return false;
  StepOrder order{.plan = std::move(*plan), .decode_strategy = decode_strategy_};
  for (RequestId finished : order.plan.finished) picker_.forget(finished);
  std::vector<StrategyChoice> choices;  // of each chunk
  for (const PrefillChunk& chunk : order.plan.prefill) {
    choices.push_back(picker_.pick(order.plan.group, chunk, prompt_tokens_[chunk.request],
                                   planner_.owners(chunk.request)));
    order.strategy = choices.back().plan.strategy;
    log(LogLevel::kDebug, str("chunk of {} tokens at {}: {}", chunk.count, chunk.first,
                              describe(choices.back(), std::ssize(order.plan.group))));
  }
  announce(order);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const PrefillChunk& chunk = order.plan.prefill[i];
    listener_.prefill(
        {chunk.request, chunk.first, chunk.count, prompt_tokens_[chunk.request], &choices[i]});
  }
  const bool prefills = !order.plan.prefill.empty();
  collect(order.plan, worker_.execute(order, prefills ? listener_.layer : nullptr));
  return true;
}

/// To the group; to everyone when requests have finished or pages move, since any rank may hold
/// their pages, and when rows look back.
void Coordinator::announce(const StepOrder& order) {
  const bool of_pages = !order.plan.finished.empty() || !order.plan.moves.empty();
  const bool looks_back = std::ranges::any_of(order.plan.decode, [&](const DecodeStep& row) {
    return looking_back_.contains(row.request);
  });
  std::vector<int> peers =
      of_pages || looks_back ? others() : worker_.ranks().all(order.plan.group);
  std::erase(peers, control_.rank());
  control_.send(peers, to_message(order));
}

void Coordinator::collect(const StepPlan& plan, const StepReport& own) {
  std::vector<StepReport> reports{own};
  for (int rank : worker_.ranks().all(plan.group)) {
    if (rank == control_.rank()) continue;
    reports.push_back(read_report(control_.receive(rank)));
    if (reports.back().epoch != plan.epoch) {
      throw CommError(str("rank {} reported step {} while step {} ran", rank, reports.back().epoch,
                          plan.epoch));
    }
  }
  std::vector<SampledToken> sampled;
  std::map<RequestId, double> nll;  // summed in rank order
  for (const StepReport& report : reports) {
    for (const RowResult& row : report.rows) {
      sampled.push_back({row.request, row.scored.chosen.id});
      listener_.token(row.request, row.scored);
    }
    for (const NllSum& part : report.nll) nll[part.request] += part.sum;
  }
  for (const auto& [request, sum] : nll) listener_.nll(request, sum);
  planner_.completed(sampled);
}

std::vector<RankSummary> Coordinator::stop() {
  control_.send(others(), {MessageType::kStop, {}});
  std::vector<RankSummary> summaries{worker_.summary()};
  for (int rank : others()) summaries.push_back(read_summary(control_.receive(rank)));
  return summaries;
}

void follow_coordinator(ControlChannel& control, Worker& worker) {
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
      case MessageType::kReport:
      case MessageType::kSummary:
        throw CommError("the coordinator sent a message that only workers send");
    }
  }
}

}  // namespace longspan
