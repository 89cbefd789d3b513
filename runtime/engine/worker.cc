#include "runtime/engine/worker.h"

#include <algorithm>
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
