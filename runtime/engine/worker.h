// One rank's side of a step: keeps the sequences' tokens and page tables, turns a plan into what
// this rank computes, runs it, and reports.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/machine.h"
#include "runtime/engine/step_worker.h"
#include "runtime/engine/tier_shape.h"
#include "runtime/memory/kv_store.h"
#include "runtime/memory/page_table.h"
#include "runtime/model/row_scorer.h"
#include "runtime/model/tokenizer.h"
#include "runtime/model/transformer.h"

namespace longspan {

/// The model as a rank holds it, all or a part; outlives the worker.
struct LoadedModel {
  Tokenizer tokenizer;
  ModelConfig config;
  ModelWeights weights;
  std::int64_t host_weight_bytes = 0;  // of all parts that ranks of this host hold
  std::unique_ptr<ModelOps> ops;
  std::unique_ptr<AttentionKernels> kernels;
};

class EvictedPages;
class PageCopies;
class PageStore;
struct PageMemory;
struct SessionIndex;
struct SessionPart;

/// What a rank allocates, from the memory plan.
struct WorkerMemory {
  KvStoreShape kv;
  Transformer::Limits limits;
  TierShape tier;  // of the host's memory, and not counted by bytes()

  std::int64_t bytes(const ModelConfig& config) const;
};

class Worker final : public StepWorker {
 public:
  /// What a rank has beside its memory.
  struct Beside {
    std::unique_ptr<PageStore>
        store;  // if there is one behind the tier's buffers: keeps pages that were evicted
    /// How long an exchange may take, where ranks of other groups copy pages; 0: none do.
    std::chrono::milliseconds copies_within{0};
  };

  /// Allocates everything this rank will ever need. Throws OutOfMemory.
  Worker(Machine& machine, LoadedModel& model, const WorkerMemory& memory, Beside beside);
  ~Worker() override;

  void admit(Admission admission) override;
  using StepWorker::execute;
  StepReport execute(const StepOrder& order, const LayerDone& layer_done) override;
  void send_pages(const std::vector<PageSend>& pages) override;
  RankSummary summary() const override;
  PagesReport save_pages(const SavePages& order) override;
  PagesReport restore_pages(const RestorePages& order) override;
  bool takes_part(const StepPlan& plan) const override;
  const InstanceRanks& ranks() const override { return ranks_; }

 private:
  struct Sequence {
    Admission admission;
    PageTable pages;
    TokenCounts history;  // if its sampling looks back
  };
  /// What the page of a fork that is not full is copied from, kept as long as the ledger keeps it:
  /// until the step that copies is reported.
  struct ForkedTail {
    RequestId to;
    KvLease page;
    KvLease tail;  // where pages fill elsewhere
  };
  /// A row of the step whose next token this rank samples.
  struct RequestRow {
    RequestId request;
    std::int64_t row;
  };

  PageTable no_pages();
  void fork(const ForkedRequest& fork);
  void note_owners(const std::vector<PageOwners>& owners);
  void note_tokens(const StepPlan& plan);
  void move_pages(const std::vector<PageMove>& moves);
  void place_pages(const std::vector<GrantedPage>& grants);
  void copy_page(const GrantedPage& grant);
  void exchange_with_tier(const StepPlan& plan);
  void keep_order();
  void await_tier_copies();
  void receive_pages(const std::vector<PageFetch>& fetches);
  void await_fetches();
  TierNews fetch_news();
  void note_from_tier(TierNews& news);
  ForwardStep make_step(const StepOrder& order);
  void add_chunk(ForwardStep& step, const PrefillChunk& chunk, Strategy strategy);
  void add_decode_row(ForwardStep& step, const DecodeStep& row);
  SequenceStorage storage_of(const Group& group, const Sequence& sequence) const;
  std::vector<Mask> masks_of(const Sequence& sequence) const;
  TraceLane* host_lane() const;
  void await_compute();
  PageMemory memory_of(const PageTable& pages, std::int64_t number, bool full);
  std::optional<SessionPart> write_pages(const SavePages& order);
  void read_pages(const RestorePages& order);
  void read_part(const std::string& session, const SessionIndex& index, const SessionPart& part,
                 PageTable& pages);
  StepReport score(const StepPlan& plan, const ForwardStep& step);
  void refuse_bad_attention();
  std::vector<RequestRow> mastered(const StepPlan& plan, const ForwardStep& step) const;
  void score_rows(StepReport& report, const ForwardStep& step, std::span<const RequestRow> rows);
  void score_sliced(StepReport& report, const ForwardStep& step, std::span<const RequestRow> rows);
  RowQuestion question(const ForwardStep& step, const RequestRow& row, std::int64_t at) const;
  std::vector<Scored> answers(const float* logits, std::span<const RowQuestion> questions);
  void sum_nll(StepReport& report, const ForwardStep& step, const StepChunk& chunk,
               RequestId request);

  /// The rank of `instance` that has the same part of the model as this one.
  int counterpart(int instance) const { return ranks_.rank_of(instance, model_.config.part.index); }
  bool has_logits() const { return model_.config.part.index == 0; }

  Machine& machine_;
  LoadedModel& model_;
  const InstanceRanks ranks_;
  const int instance_;  // this rank's
  std::int64_t planned_bytes_;
  std::int64_t resident_before_;
  KvStore kv_;
  Transformer transformer_;
  RowScorer scorer_;
  std::map<RequestId, Sequence> sequences_;
  std::vector<ForkedTail> forked_tails_;
  std::int64_t bad_attention_;  // bad partials counted by the kernels up to the last step
  std::unique_ptr<EvictedPages> evicted_;  // null: there is no tier
  std::unique_ptr<PageCopies> copies_;
  std::unique_ptr<Stream> compute_;  // last: drains before what its work touches goes
};

}  // namespace longspan
