// The prefill strategy of each chunk of a job: the one there is, or the cheapest of several.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "attention/approximation.h"
#include "attention/choose_strategy.h"
#include "attention/machine_rates.h"
#include "attention/strategy_set.h"
#include "runtime/model/layer_masks.h"
#include "scheduler/step_plan.h"

namespace longspan {

struct StrategyPickerOptions {
  /// Legal for the job's degree. One: it is used, unless there is no memory for it. Several: the
  /// cheapest by `rates` is.
  std::vector<PlannedStrategy> plans{PlannedStrategy{}};
  StrategySet planned{PlannedStrategy{}};  // those with memory; one at least
  MachineRates rates;
  HeadShape heads{};
  int layers = 1;
  LayerMasks masks{Mask::causal()};
  KvType kv_type = KvType::kFloat32;  // of pages
  Approximation attention;
  std::int64_t page_tokens = 16;
  std::vector<int> hosts;       // for each instance of the job's groups a number for its host
  bool beside_kernels = false;  // as Communicator::moves_beside_kernels
  KvType new_columns = KvType::kFloat32;  // as AttentionKernels::new_columns
};

class StrategyPicker {
 public:
  explicit StrategyPicker(StrategyPickerOptions options) : options_(std::move(options)) {}

  /// How its group should split the chunk of a request with `prompt_tokens`. `owners`: instances,
  /// of the request's pages up to the chunk's end at least.
  StrategyChoice pick(const PrefillChunk& chunk, std::int64_t prompt_tokens,
                      std::span<const int> owners);
  void forget(RequestId request) { previous_.erase(request); }

 private:
  StrategyChoice the_one(const StrategyQuestion& question) const;
  StrategyQuestion question(const PrefillChunk& chunk, std::int64_t prompt_tokens,
                            std::vector<int> owners) const;
  std::vector<int> hosts_of(std::span<const int> group) const;
  std::vector<LayerShape> layer_shapes(const Deal& deal, std::int64_t prompt_tokens,
                                       const SequenceStorage& storage) const;
  bool one_was_asked_for() const { return options_.plans.size() == 1; }

  StrategyPickerOptions options_;
  std::map<RequestId, PlannedStrategy> previous_;  // of each request's last chunk
};

}  // namespace longspan
