#include "runtime/engine/strategy_picker.h"

#include <algorithm>

#include "attention/split_chunk.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "runtime/engine/deal_of_chunk.h"

namespace longspan {

StrategyChoice StrategyPicker::pick(const PrefillChunk& chunk, std::int64_t prompt_tokens,
                                    std::span<const int> owners) {
  const std::vector<int>& group = chunk.group;
  expects(group.size() <= options_.hosts.size(), "a chunk is split over instances of the job");
  const std::int64_t end = chunk.first + chunk.count;
  owners = owners.first((end + options_.page_tokens - 1) / options_.page_tokens);
  std::vector<int> place(options_.hosts.size(), -1);  // of an instance in the group
  for (std::size_t i = 0; i < group.size(); ++i) place.at(group[i]) = static_cast<int>(i);
  std::vector<int> indices;  // of the owners
  indices.reserve(owners.size());
  for (int owner : owners) indices.push_back(place.at(owner));
  expects(std::ranges::count(indices, -1) == 0, "every owner is in the group");
  const StrategyQuestion asked = question(chunk, prompt_tokens, std::move(indices));
  StrategyChoice choice =
      one_was_asked_for() ? the_one(asked) : choose_strategy(asked, options_.rates);
  previous_[chunk.request] = choice.plan;
  return choice;
}

StrategyChoice StrategyPicker::the_one(const StrategyQuestion& question) const {
  const PlannedStrategy& wanted = options_.plans.front();
  if (options_.planned.contains(wanted)) {
    return {.plan = wanted,
            .seconds = examine(wanted, question, options_.rates).seconds,
            .reason = "nothing to choose from",
            .candidates = {}};
  }
  const std::int64_t needed = examine(wanted, question, options_.rates).staging_bytes;
  return {.plan = {},
          .seconds = examine({}, question, options_.rates).seconds,
          .reason = str("{} needs {} of staging, more than the KV cache leaves",
                        name(wanted.strategy), human_bytes(needed)),
          .candidates = {}};
}

StrategyQuestion StrategyPicker::question(const PrefillChunk& chunk, std::int64_t prompt_tokens,
                                          std::vector<int> owners) const {
  const Deal deal = deal_of(chunk);
  const SequenceStorage storage{
      .page_tokens = options_.page_tokens, .owners = std::move(owners), .slots = {}};
  const auto previous = previous_.find(chunk.request);
  return {.setting = {.heads = options_.heads,
                      .layout = deal.layout,
                      .block = deal.block,
                      .page_tokens = options_.page_tokens,
                      .hosts = hosts_of(chunk.group),
                      .beside_kernels = options_.beside_kernels,
                      .new_columns = options_.new_columns},
          .layers = layer_shapes(deal, prompt_tokens, storage),
          .identity = has_identity(deal, options_.page_tokens, storage.owners),
          .at_rest = options_.kv_type,
          .planned = options_.planned,
          .previous = previous == previous_.end() ? std::nullopt : std::optional(previous->second)};
}

std::vector<int> StrategyPicker::hosts_of(std::span<const int> group) const {
  std::vector<int> hosts;
  for (int instance : group) hosts.push_back(options_.hosts.at(instance));
  return hosts;
}

std::vector<LayerShape> StrategyPicker::layer_shapes(const Deal& deal, std::int64_t prompt_tokens,
                                                     const SequenceStorage& storage) const {
  std::vector<LayerShape> shapes;
  for (const Mask& mask : options_.masks.distinct()) {
    const Mask seen = approximated(mask, options_.attention, prompt_tokens);
    shapes.push_back({.shape = split_shape(deal, storage, seen), .layers = 0});
  }
  for (int layer = 0; layer < options_.layers; ++layer)
    ++shapes[options_.masks.index(layer)].layers;
  std::erase_if(shapes, [](const LayerShape& kind) { return kind.layers == 0; });
  return shapes;
}

}  // namespace longspan
