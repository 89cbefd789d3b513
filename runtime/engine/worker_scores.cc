// What a rank says of a step's logits: tokens of the rows it masters, and how likely prompts were.
#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/engine/worker.h"

namespace longspan {

StepReport Worker::score(const StepPlan& plan, const ForwardStep& step) {
  StepReport report{.epoch = plan.epoch, .kv_pages = kv_.pages().used()};
  std::vector<RequestRow> rows;
  auto part = step.chunks.begin();
  for (const PrefillChunk& chunk : plan.prefill) {
    if (std::ranges::count(chunk.group, instance_) == 0) continue;
    const StepChunk& own = *part++;
    if (chunk.wants_nll) sum_nll(report, step, own, chunk.request);
    const std::vector<std::int64_t>& positions = own.chunk().positions;
    const auto last = std::ranges::find(positions, chunk.first + chunk.count - 1);
    if (!chunk.samples || last == positions.end()) continue;
    const std::int64_t row = own.row0 + (last - positions.begin());
    rows.push_back({chunk.request, row});
    for (const RequestId fork : chunk.forks) rows.push_back({fork, row});
  }
  const std::vector<RequestRow> decoded = mastered(plan, step);
  if (!step.is_sliced()) rows.insert(rows.end(), decoded.begin(), decoded.end());
  score_rows(report, step, rows);
  if (step.is_sliced()) score_sliced(report, step, decoded);
  await_compute();
  refuse_bad_attention();
  return report;
}

/// The decode rows that this rank answers for. Targets are those rows, in order of the plan.
std::vector<Worker::RequestRow> Worker::mastered(const StepPlan& plan,
                                                 const ForwardStep& step) const {
  std::vector<RequestRow> rows;
  for (const DecodeStep& decode : plan.decode) {
    if (decode.master != instance_) continue;
    rows.push_back({decode.request, step.chunk_rows() + step.targets[rows.size()].row});
  }
  return rows;
}

/// Merging counts a part without a usable weight as empty: a step with one has dropped keys.
void Worker::refuse_bad_attention() {
  const std::int64_t bad = transformer_.bad_lse_total();
  if (bad == bad_attention_) return;
  const std::int64_t now = bad - std::exchange(bad_attention_, bad);
  throw Error(ExitCode::kInternal,
              str("attention gave {} results that are not numbers; the model's weights, or what "
                  "was computed with them, are damaged: check the file",
                  now));
}

/// Samples for rows of the step.
void Worker::score_rows(StepReport& report, const ForwardStep& step,
                        std::span<const RequestRow> rows) {
  const std::size_t most = transformer_.limits().logit_rows;
  for (; !rows.empty(); rows = rows.subspan(std::min(most, rows.size()))) {
    const std::span<const RequestRow> some = rows.first(std::min(most, rows.size()));
    std::vector<std::int64_t> indices;
    for (const RequestRow& row : some) indices.push_back(row.row);
    const float* logits = transformer_.logits(*compute_, indices);
    if (!has_logits()) continue;
    std::vector<RowQuestion> questions;
    for (const RequestRow& row : some)
      questions.push_back(question(step, row, std::ssize(questions)));
    const std::vector<Scored> scored = answers(logits, questions);
    for (std::size_t i = 0; i < some.size(); ++i)
      report.rows.push_back({some[i].request, scored[i]});
  }
}

/// The same for decode rows of a sliced step, of which the other ranks have their shares.
void Worker::score_sliced(StepReport& report, const ForwardStep& step,
                          std::span<const RequestRow> rows) {
  const std::int64_t most = transformer_.limits().logit_rows;
  for (std::int64_t first = 0; first < step.decode_rows(); first += most) {
    const std::int64_t count = std::min(most, step.decode_rows() - first);
    const float* logits = transformer_.sliced_logits(*compute_, step, first, count);
    std::vector<RequestRow> here;
    std::vector<RowQuestion> questions;
    for (const RequestRow& row : rows) {
      const std::int64_t at = row.row - step.chunk_rows() - first;
      if (at < 0 || at >= count) continue;
      here.push_back(row);
      questions.push_back(question(step, row, at));
    }
    const std::vector<Scored> scored = answers(logits, questions);
    for (std::size_t i = 0; i < here.size(); ++i)
      report.rows.push_back({here[i].request, scored[i]});
  }
}

/// About the row of the step whose logits are row `at`.
RowQuestion Worker::question(const ForwardStep& step, const RequestRow& row,
                             std::int64_t at) const {
  const Sequence& sequence = sequences_.at(row.request);
  const Admission& admission = sequence.admission;
  const std::int64_t position = step.positions[row.row] + 1;
  const std::int64_t sampled = position - std::ssize(admission.prompt);
  RowQuestion question{.row = at,
                       .top = admission.top,
                       .sampling = &admission.sampling,
                       .history = &sequence.history,
                       .written = sampled,
                       .position = position};
  if (sampled < std::ssize(admission.forced)) question.forced = admission.forced[sampled];
  return question;
}

std::vector<Scored> Worker::answers(const float* logits, std::span<const RowQuestion> questions) {
  return scorer_.score(*compute_, logits, questions, [this] { await_compute(); });
}

void Worker::sum_nll(StepReport& report, const ForwardStep& step, const StepChunk& chunk,
                     RequestId request) {
  const std::vector<TokenId>& prompt = sequences_.at(request).admission.prompt;
  const std::int64_t most = transformer_.limits().logit_rows;
  double sum = 0;
  const std::int64_t end = chunk.row0 + chunk.rows();
  for (std::int64_t row = chunk.row0; row < end; row += most) {
    const std::int64_t count = std::min(most, end - row);
    std::vector<std::int64_t> rows(count);
    std::iota(rows.begin(), rows.end(), row);
    const float* logits = transformer_.logits(*compute_, rows);
    if (!has_logits()) continue;
    std::vector<RowQuestion> questions;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t next = step.positions[row + i] + 1;
      if (next < std::ssize(prompt)) questions.push_back({.row = i, .forced = prompt[next]});
    }
    for (const Scored& scored : answers(logits, questions)) sum -= scored.chosen.logprob;
  }
  if (has_logits()) report.nll.push_back({request, sum});
}

}  // namespace longspan
