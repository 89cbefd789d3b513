#include "runtime/engine/messages.h"

#include "comm/str.h"
#include "comm/wire.h"

namespace longspan {
namespace {

void fields(auto& wire, MaybeConst<Sampling> auto& sampling) {
  wire(sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p,
       sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty,
       sampling.bias, sampling.min_tokens, sampling.stops, sampling.seed, sampling.choice);
}

void fields(auto& wire, MaybeConst<Admission> auto& admission) {
  wire(admission.request, admission.prompt, admission.forced, admission.written, admission.top,
       admission.length);
  fields(wire, admission.sampling);
}

void fields(auto& wire, MaybeConst<PrefillChunk> auto& chunk) {
  wire(chunk.request, chunk.group, chunk.holders, chunk.first, chunk.count, chunk.layout,
       chunk.block, chunk.samples, chunk.wants_nll, chunk.forks);
}

void fields(auto& wire, MaybeConst<DecodeRun> auto& run) {
  wire(run.steps, run.until_one_ends);
  wire.list(run.rows, [&](auto& row) { wire(row.left, row.stops, row.page_end, row.next_master); });
}

void fields(auto& wire, MaybeConst<StepPlan> auto& plan) {
  wire(plan.epoch, plan.group);
  wire.list(plan.forks, [&](auto& fork) { wire(fork.from, fork.to, fork.owners); });
  wire(plan.preempted, plan.finished, plan.spills);
  wire.list(plan.owners, [&](auto& pages) { wire(pages.request, pages.first, pages.owners); });
  wire(plan.moves, plan.grants, plan.fetches);
  wire.list(plan.prefill, [&](auto& chunk) { fields(wire, chunk); });
  wire(plan.decode);
  fields(wire, plan.run);
}

void fields(auto& wire, MaybeConst<StepOrder> auto& order) {
  wire(order.strategies, order.decode_strategy, order.leader);
  fields(wire, order.plan);
}

void fields(auto& wire, MaybeConst<StepReport> auto& report) {
  wire(report.epoch, report.kv_pages);
  wire.list(report.rows, [&](auto& row) {
    wire(row.request, row.scored.chosen, row.scored.top, row.scored.margin);
  });
  wire(report.nll, report.tier.fetched, report.tier.lost);
}

void fields(auto& wire, MaybeConst<RunReport> auto& report) {
  wire(report.over);
  wire.list(report.reports, [&](auto& from) {
    wire(from.rank);
    fields(wire, from.report);
  });
}

void fields(auto& wire, MaybeConst<RankSummary> auto& summary) {
  wire(summary.rank, summary.host, summary.device, summary.kv_pages_used, summary.kv_pages_total,
       summary.planned_bytes, summary.resident_bytes, summary.sent_bytes, summary.received_bytes);
}

void fields(auto& wire, MaybeConst<std::vector<PageSend>> auto& pages) { wire(pages); }

template <typename T>
Message message_of(MessageType type, const T& value) {
  WireWriter out;
  fields(out, value);
  return {type, out.take()};
}

template <typename T>
T read_as(MessageType type, const Message& message) {
  WireReader in = open_message(message, type);
  T value;
  fields(in, value);
  return value;
}

}  // namespace

std::vector<const RowResult*> rows_of(const std::vector<RankReport>& reports) {
  std::vector<const RowResult*> rows;
  for (const RankReport& from : reports) {
    for (const RowResult& row : from.report.rows) rows.push_back(&row);
  }
  return rows;
}

std::vector<SampledToken> sampled(const std::vector<const RowResult*>& rows) {
  std::vector<SampledToken> tokens;
  for (const RowResult* row : rows) tokens.push_back({row->request, row->scored.chosen.id});
  return tokens;
}

WireReader open_message(const Message& message, MessageType expected) {
  if (message.type != expected) {
    throw CommError(str("control message of type {} where type {} was due",
                        static_cast<int>(message.type), static_cast<int>(expected)));
  }
  return WireReader(message.payload);
}

Message to_message(const Admission& admission) {
  return message_of(MessageType::kAdmission, admission);
}
Admission read_admission(const Message& message) {
  return read_as<Admission>(MessageType::kAdmission, message);
}

Message to_message(const StepOrder& order) { return message_of(MessageType::kPlan, order); }
StepOrder read_order(const Message& message) {
  return read_as<StepOrder>(MessageType::kPlan, message);
}

Message to_message(const std::vector<PageSend>& pages) {
  return message_of(MessageType::kSendPages, pages);
}
std::vector<PageSend> read_page_sends(const Message& message) {
  return read_as<std::vector<PageSend>>(MessageType::kSendPages, message);
}

Message to_message(const StepReport& report) { return message_of(MessageType::kReport, report); }
StepReport read_report(const Message& message) {
  return read_as<StepReport>(MessageType::kReport, message);
}

Message to_message(const RunReport& report) { return message_of(MessageType::kRunReport, report); }
RunReport read_run_report(const Message& message) {
  return read_as<RunReport>(MessageType::kRunReport, message);
}

Message to_message(const RankSummary& summary) {
  return message_of(MessageType::kSummary, summary);
}
RankSummary read_summary(const Message& message) {
  return read_as<RankSummary>(MessageType::kSummary, message);
}

Message run_end() { return {MessageType::kRunEnd, {}}; }

Message run_word(bool ends) {
  WireWriter out;
  out.put(ends);
  return {MessageType::kRunWord, out.take()};
}

bool read_run_word(const Message& message) {
  return open_message(message, MessageType::kRunWord).read<bool>();
}

}  // namespace longspan
