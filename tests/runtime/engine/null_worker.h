// A rank that computes nothing: it does of a step what the coordinator can see. For tests of what
// is said, and for what saying it costs.
#pragma once

#include <algorithm>
#include <map>

#include "runtime/engine/session_messages.h"
#include "runtime/engine/step_worker.h"

namespace longspan::test {

class NullWorker : public StepWorker {
 public:
  static constexpr TokenId kToken = 5;  // that it samples

  explicit NullWorker(int rank) : rank_(rank) {}

  void admit(Admission) override {}
  using StepWorker::execute;
  StepReport execute(const StepOrder& order, const LayerDone&) override {
    const StepPlan& plan = order.plan;
    for (RequestId id : plan.finished) pages_.erase(id);
    for (const GrantedPage& page : plan.grants) pages_[page.request] += page.at.owner == rank_;
    StepReport report{.epoch = plan.epoch};
    for (const auto& [id, count] : pages_) report.kv_pages += count;
    const auto sample = [&](RequestId id) {
      RowResult row{.request = id, .scored = {}};
      row.scored.chosen.id = kToken;
      report.rows.push_back(row);
    };
    for (const PrefillChunk& chunk : plan.prefill) {
      if (chunk.samples && chunk.group.front() == rank_) sample(chunk.request);
    }
    for (const DecodeStep& row : plan.decode) {
      if (row.master == rank_) sample(row.request);
    }
    return report;
  }
  void send_pages(const std::vector<PageSend>&) override {}
  RankSummary summary() const override { return {.rank = rank_}; }
  PagesReport save_pages(const SavePages&) override { return {}; }
  PagesReport restore_pages(const RestorePages&) override { return {}; }
  bool takes_part(const StepPlan& plan) const override {
    return std::ranges::count(plan.group, rank_) > 0;
  }
  const InstanceRanks& ranks() const override { return alone_; }

 private:
  const int rank_;
  const InstanceRanks alone_{1};
  std::map<RequestId, std::int64_t> pages_;
};

}  // namespace longspan::test
