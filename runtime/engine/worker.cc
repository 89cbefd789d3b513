#include "runtime/engine/worker.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "attention/decode_row.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "comm/trace_file.h"
#include "runtime/engine/deal_of_chunk.h"
#include "runtime/memory/evicted_pages.h"
#include "runtime/memory/page_copies.h"
#include "runtime/memory/page_exchange.h"

namespace longspan {
namespace {

Group instance_group(Machine& machine, const InstanceRanks& ranks) {
  return Group(machine.data(), ranks.all({ranks.instance_of(machine.rank())}));
}

PageContents contents_at(const PageRef& page) { return {page.slot, page.generation}; }

int index_in(const Group& group, int world_rank) {
  const auto at = std::ranges::find(group.ranks(), world_rank);
  expects(at != group.ranks().end(), "every owner of a running request is in its group");
  return static_cast<int>(at - group.ranks().begin());
}

TraceLabel step_label(const StepPlan& plan, const ForwardStep& step, bool approximate) {
  const bool mixed = !plan.prefill.empty() && !plan.decode.empty();
  return {.name = mixed                  ? "mixed step"
                  : plan.prefill.empty() ? "decode step"
                                         : "prefill step",
          .category = TraceCategory::kStep,
          .args = {{"epoch", static_cast<std::int64_t>(plan.epoch)},
                   {"rows", step.rows()},
                   {"approximate", approximate ? 1 : 0}}};
}

/// Only the first rank of an instance has logits.
RowScorer new_scorer(Machine& machine, const LoadedModel& model, std::int64_t logit_rows) {
  const RowScorer::Shape shape{.vocabulary = model.config.vocabulary,
                               .rows = model.config.part.index == 0 ? logit_rows : 0,
                               .host_reads = machine.backend() == Backend::kCpu};
  return {machine.device(), model.ops->new_logit_summaries(shape.vocabulary, shape.rows), shape};
}

/// Of one step, for buffers: a request that fetches a long prefix may displace another one at once.
/// A GPU has computed more in that time than a disk has written.
std::chrono::milliseconds patience_to_spill(Backend backend) {
  return std::chrono::milliseconds(backend == Backend::kCpu ? 100 : 0);
}

}  // namespace

std::int64_t WorkerMemory::bytes(const ModelConfig& config) const {
  return static_cast<std::int64_t>(kv.bytes() + Transformer::memory_bytes(config, limits));
}

Worker::Worker(Machine& machine, LoadedModel& model, const WorkerMemory& memory, Beside beside)
    : machine_(machine),
      model_(model),
      ranks_(model.config.part.ranks),
      instance_(ranks_.instance_of(machine.rank())),
      planned_bytes_(memory.bytes(model.config) + memory.tier.host_bytes()),
      resident_before_(resident_host_memory()),
      kv_(machine.device(), memory.kv),
      transformer_(machine.device(), model.config, model.weights, *model.ops, *model.kernels, kv_,
                   instance_group(machine, ranks_), memory.limits),
      scorer_(new_scorer(machine, model, memory.limits.logit_rows)),
      bad_attention_(transformer_.bad_lse_total()),
      compute_(machine.device().new_stream()) {
  if (memory.tier.places() > 0) {
    evicted_ = std::make_unique<EvictedPages>(machine.device(), kv_.pages(), memory.tier.buffers,
                                              memory.tier.places(), std::move(beside.store),
                                              patience_to_spill(machine.backend()));
  }
  if (beside.copies_within.count() > 0) {
    copies_ = std::make_unique<PageCopies>(machine.device(), machine.data(), kv_.pages(),
                                           beside.copies_within);
  }
  transformer_.warm_up(*compute_);
  compute_->synchronize();
}

Worker::~Worker() = default;

void Worker::admit(Admission admission) {
  const RequestId id = admission.request;
  const auto known = sequences_.find(id);
  PageTable pages = known == sequences_.end() ? no_pages() : std::move(known->second.pages);
  TokenCounts history;
  if (admission.sampling.looks_back()) {
    for (TokenId token : admission.prompt) history[token] = 0;
    for (TokenId token : admission.written) ++history[token];
  }
  sequences_.insert_or_assign(id,
                              Sequence{std::move(admission), std::move(pages), std::move(history)});
}

PageTable Worker::no_pages() { return {kv_.pages(), instance_, kv_.tails()}; }

bool Worker::takes_part(const StepPlan& plan) const {
  return std::ranges::count(plan.group, instance_) > 0;
}

StepReport Worker::execute(const StepOrder& order, const LayerDone& layer_done) {
  const StepPlan& plan = order.plan;
  forked_tails_.clear();
  for (const ForkedRequest& fork : plan.forks) this->fork(fork);
  for (RequestId id : plan.preempted) sequences_.at(id).pages = no_pages();
  for (RequestId id : plan.finished) sequences_.erase(id);
  exchange_with_tier(plan);
  note_owners(plan.owners);
  if (!plan.moves.empty()) move_pages(plan.moves);
  place_pages(plan.grants);
  receive_pages(plan.fetches);
  note_tokens(plan);
  if (!takes_part(plan)) return {.epoch = plan.epoch, .kv_pages = kv_.pages().used()};
  if (plan.only_waits()) {
    await_fetches();
    return {.epoch = plan.epoch, .kv_pages = kv_.pages().used(), .tier = fetch_news()};
  }
  const ForwardStep step = make_step(order);
  StepReport report;
  {
    const TraceLabel label = step_label(plan, step, !transformer_.limits().attention.is_exact());
    const TraceSpan host(host_lane(), label);
    const StreamSpan stream(*compute_, label);
    transformer_.forward(*compute_, step, layer_done);
    report = score(plan, step);
  }
  report.tier = fetch_news();
  if (TraceFile* trace = machine_.device().trace()) trace->keep_up();
  return report;
}

TraceLane* Worker::host_lane() const {
  TraceFile* trace = machine_.device().trace();
  return trace ? &trace->host() : nullptr;
}

void Worker::await_compute() {
  const TraceSpan span(host_lane(), {"wait", TraceCategory::kWait});
  compute_->synchronize();
}

/// A rank beyond the degree has no pages, and no part in any sequence.
void Worker::note_owners(const std::vector<PageOwners>& owners) {
  if (kv_.pages().pages() == 0) return;
  for (const PageOwners& one : owners) {
    sequences_.at(one.request).pages.promise(one.owners, one.first);
  }
}

/// Tokens that were sampled, wherever that was, and are computed by this step.
void Worker::note_tokens(const StepPlan& plan) {
  for (const DecodeStep& row : plan.decode) {
    Sequence& sequence = sequences_.at(row.request);
    if (sequence.admission.sampling.looks_back()) ++sequence.history[row.token];
  }
}

/// Before its parent may end, and be forgotten.
void Worker::fork(const ForkedRequest& fork) {
  const Sequence& parent = sequences_.at(fork.from);
  Sequence& child = sequences_.at(fork.to);
  expects(parent.admission.prompt == child.admission.prompt, "forks are of one prompt");
  if (!parent.pages.promised()) return;
  const std::int64_t length = std::ssize(parent.admission.prompt);
  child.pages.fork(parent.pages, fork.owners, length);
  const std::int64_t page_tokens = kv_.pages().shape().page_tokens, last = length / page_tokens;
  if (length % page_tokens == 0 || fork.owners.at(last) != instance_) return;
  forked_tails_.push_back({fork.to, parent.pages.share(last), parent.pages.share_tail()});
}

/// Pages leave and arrive at once, and are free or readable only when all have.
void Worker::move_pages(const std::vector<PageMove>& moves) {
  PageExchange exchange(kv_.pages());
  std::vector<KvLease> leaving;
  for (const PageMove& move : moves) {
    PageTable& pages = sequences_.at(move.request).pages;
    if (!pages.promised()) continue;
    pages.open((move.page + 1) * kv_.pages().shape().page_tokens);
    const int from = pages.owners()[move.page];
    const int to = move.to.owner;
    KvLease page = pages.move(move.page, to, contents_at(move.to));
    if (from == instance_) exchange.send(page.slots().front(), counterpart(to));
    if (to == instance_) exchange.receive(pages.slot(move.page), counterpart(from));
    leaving.push_back(std::move(page));
  }
  keep_order();
  exchange.run(*compute_, machine_.data());
  await_compute();
}

/// What rank 0 hands out of this rank's pages.
void Worker::place_pages(const std::vector<GrantedPage>& grants) {
  for (const GrantedPage& grant : grants) {
    if (grant.at.owner != instance_) continue;
    sequences_.at(grant.request).pages.place(grant.page, contents_at(grant.at), grant.filled);
  }
  keep_order();
  for (const GrantedPage& grant : grants) {
    if (grant.at.owner == instance_ && grant.copied > 0) copy_page(grant);
  }
}

/// All of it: whose tokens lie behind the first `grant.copied` does not matter, for a step writes
/// what it reads there.
void Worker::copy_page(const GrantedPage& grant) {
  const auto from = std::ranges::find(forked_tails_, grant.request, &ForkedTail::to);
  expects(from != forked_tails_.end(), "what is copied is of a fork of this step");
  if (KvPagePool* tails = kv_.tails()) {
    const PageSlot to = sequences_.at(grant.request).pages.tail();
    tails->copy(*compute_, from->tail.slots().front(), to);
  } else {
    kv_.pages().copy(*compute_, from->page.slots().front(), grant.at.slot);
  }
}

ForwardStep Worker::make_step(const StepOrder& order) {
  const StepPlan& plan = order.plan;
  const int part = model_.config.part.index;
  ForwardStep step{.group = Group(machine_.data(), ranks_.with_part(plan.group, part))};
  step.decode_strategy = order.decode_strategy;
  for (std::size_t i = 0; i < plan.prefill.size(); ++i) {
    add_chunk(step, plan.prefill[i], order.strategies.at(i));
  }
  const DecodeBatch no_rows{.rank = step.group.rank(), .size = step.group.size(), .rows = {}};
  step.decode.assign(model_.config.masks.distinct().size(), no_rows);
  for (const DecodeStep& row : plan.decode) add_decode_row(step, row);
  return step;
}

SequenceStorage Worker::storage_of(const Group& group, const Sequence& sequence) const {
  const std::span<const PageSlot> slots = sequence.pages.slots();
  SequenceStorage storage{.page_tokens = kv_.pages().shape().page_tokens,
                          .slots = {slots.begin(), slots.end()},
                          .tail = sequence.pages.tail()};
  for (int owner : sequence.pages.owners()) {
    storage.owners.push_back(index_in(group, counterpart(owner)));
  }
  return storage;
}

/// For each distinct mask of the model what the sequence's rows attend under instead.
std::vector<Mask> Worker::masks_of(const Sequence& sequence) const {
  const std::int64_t prompt_tokens = std::ssize(sequence.admission.prompt);
  std::vector<Mask> masks;
  for (const Mask& mask : model_.config.masks.distinct()) {
    masks.push_back(approximated(mask, transformer_.limits().attention, prompt_tokens));
  }
  return masks;
}

void Worker::add_chunk(ForwardStep& step, const PrefillChunk& chunk, Strategy strategy) {
  if (std::ranges::count(chunk.group, instance_) == 0) return;
  Sequence& sequence = sequences_.at(chunk.request);
  sequence.pages.open(chunk.first + chunk.count);
  const int part = model_.config.part.index;
  StepChunk rows{.group = Group(machine_.data(), ranks_.with_part(chunk.group, part)),
                 .by_mask = {},
                 .strategy = strategy,
                 .row0 = step.rows()};
  const Deal deal = deal_of(chunk);
  const SequenceStorage storage = storage_of(rows.group, sequence);
  for (const Mask& mask : masks_of(sequence)) {
    rows.by_mask.push_back(make_split_chunk(deal, rows.group.rank(), storage, mask));
    if (mask.needs_choice()) rows.by_mask.back().choice = transformer_.key_choice(chunk.count);
  }
  const std::vector<std::int64_t>& positions = rows.chunk().positions;
  step.spans.push_back(
      {.row0 = rows.row0, .rows = std::ssize(positions), .length = sequence.admission.length});
  for (std::int64_t position : positions) {
    step.tokens.push_back(sequence.admission.token_at(position));
    step.positions.push_back(position);
  }
  step.chunks.push_back(std::move(rows));
}

void Worker::add_decode_row(ForwardStep& step, const DecodeStep& row) {
  Sequence& sequence = sequences_.at(row.request);
  sequence.pages.open(row.position + 1);
  const SequenceStorage storage = storage_of(step.group, sequence);
  const DecodePlace place{.position = row.position,
                          .master = index_in(step.group, counterpart(row.master))};
  const std::vector<Mask> masks = masks_of(sequence);
  for (std::size_t i = 0; i < masks.size(); ++i) {
    step.decode[i].rows.push_back(decode_row(place, step.group.rank(), storage, masks[i]));
  }
  const bool masters = row.master == instance_;
  if (masters) {
    step.targets.push_back({.row = step.rows() - step.chunk_rows(),
                            .pages = {sequence.pages.slots(), sequence.pages.tail()},
                            .column = step.decode.front().rows.back().columns - 1});
  }
  if (masters || mirrors_rows(step.decode_strategy)) {
    step.spans.push_back({.row0 = step.rows(), .rows = 1, .length = sequence.admission.length});
    step.tokens.push_back(row.token);
    step.positions.push_back(row.position);
  }
}

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

RankSummary Worker::summary() const {
  const Traffic traffic = machine_.data().traffic();
  return {.rank = machine_.rank(),
          .host = machine_.host(),
          .device = machine_.device().description(),
          .kv_pages_used = kv_.pages().most_used(),
          .kv_pages_total = kv_.pages().pages(),
          .planned_bytes = planned_bytes_,
          .resident_bytes = resident_host_memory() - resident_before_,
          .sent_bytes = traffic.sent_bytes,
          .received_bytes = traffic.received_bytes};
}

}  // namespace longspan
