#include "runtime/engine/messages.h"

#include "comm/str.h"
#include "runtime/engine/wire.h"

namespace longspan {
namespace {

void put(WireWriter& out, const Sampling& sampling) {
  out.put(sampling.temperature);
  out.put(sampling.top_k);
  out.put(sampling.top_p);
  out.put(sampling.min_p);
  out.put(sampling.repetition_penalty);
  out.put(sampling.presence_penalty);
  out.put(sampling.frequency_penalty);
  out.put(sampling.bias);
  out.put(sampling.min_tokens);
  out.put(sampling.stops);
  out.put(sampling.seed);
  out.put(sampling.choice);
}

Sampling read_sampling(WireReader& in) {
  Sampling sampling;
  in.read(sampling.temperature);
  in.read(sampling.top_k);
  in.read(sampling.top_p);
  in.read(sampling.min_p);
  in.read(sampling.repetition_penalty);
  in.read(sampling.presence_penalty);
  in.read(sampling.frequency_penalty);
  in.read(sampling.bias);
  in.read(sampling.min_tokens);
  in.read(sampling.stops);
  in.read(sampling.seed);
  in.read(sampling.choice);
  return sampling;
}

void put(WireWriter& out, const PrefillChunk& chunk) {
  out.put(chunk.request);
  out.put(chunk.group);
  out.put(chunk.holders);
  out.put(chunk.first);
  out.put(chunk.count);
  out.put(chunk.layout);
  out.put(chunk.block);
  out.put(chunk.samples);
  out.put(chunk.wants_nll);
  out.put(chunk.forks);
}

PrefillChunk read_chunk(WireReader& in) {
  PrefillChunk chunk;
  in.read(chunk.request);
  in.read(chunk.group);
  in.read(chunk.holders);
  in.read(chunk.first);
  in.read(chunk.count);
  in.read(chunk.layout);
  in.read(chunk.block);
  in.read(chunk.samples);
  in.read(chunk.wants_nll);
  in.read(chunk.forks);
  return chunk;
}

void put(WireWriter& out, const ForkedRequest& fork) {
  out.put(fork.from);
  out.put(fork.to);
  out.put(fork.owners);
}

ForkedRequest read_fork(WireReader& in) {
  ForkedRequest fork;
  in.read(fork.from);
  in.read(fork.to);
  in.read(fork.owners);
  return fork;
}

void put(WireWriter& out, const PageOwners& pages) {
  out.put(pages.request);
  out.put(pages.first);
  out.put(pages.owners);
}

PageOwners read_owners(WireReader& in) {
  PageOwners pages;
  in.read(pages.request);
  in.read(pages.first);
  in.read(pages.owners);
  return pages;
}

void put(WireWriter& out, const DecodeRun& run) {
  out.put(run.steps);
  out.put(run.until_one_ends);
  out.put(run.rows.size());
  for (const RowOfRun& row : run.rows) {
    out.put(row.left);
    out.put(row.stops);
    out.put(row.page_end);
    out.put(row.next_master);
  }
}

DecodeRun read_run(WireReader& in) {
  DecodeRun run;
  in.read(run.steps);
  in.read(run.until_one_ends);
  const auto rows = in.read<std::size_t>();
  for (std::size_t i = 0; i < rows; ++i) {
    RowOfRun row;
    in.read(row.left);
    in.read(row.stops);
    in.read(row.page_end);
    in.read(row.next_master);
    run.rows.push_back(std::move(row));
  }
  return run;
}

void put(WireWriter& out, const RowResult& row) {
  out.put(row.request);
  out.put(row.scored.chosen);
  out.put(row.scored.top);
  out.put(row.scored.margin);
}

RowResult read_row(WireReader& in) {
  RowResult row;
  in.read(row.request);
  in.read(row.scored.chosen);
  in.read(row.scored.top);
  in.read(row.scored.margin);
  return row;
}

void put(WireWriter& out, const StepReport& report) {
  out.put(report.epoch);
  out.put(report.kv_pages);
  out.put(report.rows.size());
  for (const RowResult& row : report.rows) put(out, row);
  out.put(report.nll);
  out.put(report.tier.fetched);
  out.put(report.tier.lost);
}

StepReport read_step_report(WireReader& in) {
  StepReport report;
  in.read(report.epoch);
  in.read(report.kv_pages);
  const auto rows = in.read<std::size_t>();
  for (std::size_t i = 0; i < rows; ++i) report.rows.push_back(read_row(in));
  in.read(report.nll);
  in.read(report.tier.fetched);
  in.read(report.tier.lost);
  return report;
}

}  // namespace

WireReader open_message(const Message& message, MessageType expected) {
  if (message.type != expected) {
    throw CommError(str("control message of type {} where type {} was due",
                        static_cast<int>(message.type), static_cast<int>(expected)));
  }
  return WireReader(message.payload);
}

Message to_message(const Admission& admission) {
  WireWriter out;
  out.put(admission.request);
  out.put(admission.prompt);
  out.put(admission.forced);
  out.put(admission.written);
  out.put(admission.top);
  out.put(admission.length);
  put(out, admission.sampling);
  return {MessageType::kAdmission, out.take()};
}

Admission read_admission(const Message& message) {
  WireReader in = open_message(message, MessageType::kAdmission);
  Admission admission;
  in.read(admission.request);
  in.read(admission.prompt);
  in.read(admission.forced);
  in.read(admission.written);
  in.read(admission.top);
  in.read(admission.length);
  admission.sampling = read_sampling(in);
  return admission;
}

Message to_message(const StepOrder& order) {
  const StepPlan& plan = order.plan;
  WireWriter out;
  out.put(order.strategies);
  out.put(order.decode_strategy);
  out.put(order.leader);
  out.put(plan.epoch);
  out.put(plan.group);
  out.put(plan.forks.size());
  for (const ForkedRequest& fork : plan.forks) put(out, fork);
  out.put(plan.preempted);
  out.put(plan.finished);
  out.put(plan.spills);
  out.put(plan.owners.size());
  for (const PageOwners& pages : plan.owners) put(out, pages);
  out.put(plan.moves);
  out.put(plan.grants);
  out.put(plan.fetches);
  out.put(plan.prefill.size());
  for (const PrefillChunk& chunk : plan.prefill) put(out, chunk);
  out.put(plan.decode);
  put(out, plan.run);
  return {MessageType::kPlan, out.take()};
}

StepOrder read_order(const Message& message) {
  WireReader in = open_message(message, MessageType::kPlan);
  StepOrder order;
  StepPlan& plan = order.plan;
  in.read(order.strategies);
  in.read(order.decode_strategy);
  in.read(order.leader);
  in.read(plan.epoch);
  in.read(plan.group);
  const auto forks = in.read<std::size_t>();
  for (std::size_t i = 0; i < forks; ++i) plan.forks.push_back(read_fork(in));
  in.read(plan.preempted);
  in.read(plan.finished);
  in.read(plan.spills);
  const auto owners = in.read<std::size_t>();
  for (std::size_t i = 0; i < owners; ++i) plan.owners.push_back(read_owners(in));
  in.read(plan.moves);
  in.read(plan.grants);
  in.read(plan.fetches);
  const auto chunks = in.read<std::size_t>();
  for (std::size_t i = 0; i < chunks; ++i) plan.prefill.push_back(read_chunk(in));
  in.read(plan.decode);
  plan.run = read_run(in);
  return order;
}

Message to_message(const std::vector<PageSend>& pages) {
  WireWriter out;
  out.put(pages);
  return {MessageType::kSendPages, out.take()};
}

std::vector<PageSend> read_page_sends(const Message& message) {
  WireReader in = open_message(message, MessageType::kSendPages);
  std::vector<PageSend> pages;
  in.read(pages);
  return pages;
}

Message to_message(const StepReport& report) {
  WireWriter out;
  put(out, report);
  return {MessageType::kReport, out.take()};
}

StepReport read_report(const Message& message) {
  WireReader in = open_message(message, MessageType::kReport);
  return read_step_report(in);
}

Message to_message(const RunReport& report) {
  WireWriter out;
  out.put(report.over);
  out.put(report.reports.size());
  for (const RankReport& from : report.reports) {
    out.put(from.rank);
    put(out, from.report);
  }
  return {MessageType::kRunReport, out.take()};
}

RunReport read_run_report(const Message& message) {
  WireReader in = open_message(message, MessageType::kRunReport);
  RunReport report;
  in.read(report.over);
  const auto reports = in.read<std::size_t>();
  for (std::size_t i = 0; i < reports; ++i) {
    const int rank = in.read<int>();
    report.reports.push_back({rank, read_step_report(in)});
  }
  return report;
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

Message to_message(const RankSummary& summary) {
  WireWriter out;
  out.put(summary.rank);
  out.put(summary.host);
  out.put(summary.device);
  out.put(summary.kv_pages_used);
  out.put(summary.kv_pages_total);
  out.put(summary.planned_bytes);
  out.put(summary.resident_bytes);
  out.put(summary.sent_bytes);
  out.put(summary.received_bytes);
  return {MessageType::kSummary, out.take()};
}

RankSummary read_summary(const Message& message) {
  WireReader in = open_message(message, MessageType::kSummary);
  RankSummary summary;
  in.read(summary.rank);
  in.read(summary.host);
  in.read(summary.device);
  in.read(summary.kv_pages_used);
  in.read(summary.kv_pages_total);
  in.read(summary.planned_bytes);
  in.read(summary.resident_bytes);
  in.read(summary.sent_bytes);
  in.read(summary.received_bytes);
  return summary;
}

}  // namespace longspan
