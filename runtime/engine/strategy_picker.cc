#include "runtime/engine/strategy_picker.h"

#include <algorithm>

#include "attention/split_chunk.h"
#include "attention/strategy_time.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "runtime/engine/deal_of_chunk.h"

namespace longspan {

StrategyChoice StrategyPicker::pick(std::span<const int> group, const PrefillChunk& chunk,
                                    std::span<const int> owners) {
  expects(group.size() == options_.hosts.size(), "a chunk is split over the job's degree");
  std::vector<int> indices;  // of the owners in the group
  for (int owner : owners) {
    const auto at = std::ranges::find(group, owner);
    expects(at != group.end(), "every owner is in the group");
    indices.push_back(static_cast<int>(at - group.begin()));
  }
  const StrategyQuestion asked = question(chunk, std::move(indices));
  StrategyChoice choice;
  if (!one_was_asked_for()) {
    choice = choose_strategy(asked, options_.rates);
  } else if (const PlannedStrategy wanted = options_.plans.front();
             options_.planned.contains(wanted)) {
    choice = only(wanted, asked, "nothing to choose from");
  } else {
    choice =
        only({}, asked,
             str("{} needs {} of staging, more than the KV cache leaves", name(wanted.strategy),
                 human_bytes(staging_bytes(wanted, asked.shape, asked.wire()))));
  }
  previous_[chunk.request] = choice.plan;
  return choice;
}

StrategyQuestion StrategyPicker::question(const PrefillChunk& chunk,
                                          std::vector<int> owners) const {
  const int ranks = static_cast<int>(options_.hosts.size());
  const Deal deal = deal_of(chunk, ranks);
  const SequenceStorage storage{
      .page_tokens = options_.page_tokens, .owners = std::move(owners), .slots = {}};
  std::vector<std::int64_t> cached;
  for (int rank = 0; rank < ranks; ++rank) {
    cached.push_back(owned_columns(storage, rank, chunk.first));
  }
  const auto previous = previous_.find(chunk.request);
  return {.setting = {.heads = options_.heads,
                      .layout = deal.layout,
                      .block = deal.block,
                      .page_tokens = options_.page_tokens,
                      .hosts = options_.hosts},
          .shape = split_shape(deal, cached),
          .identity = has_identity(deal, options_.page_tokens, storage.owners),
          .planned = options_.planned,
          .previous = previous == previous_.end() ? std::nullopt : std::optional(previous->second)};
}

StrategyChoice StrategyPicker::only(const PlannedStrategy& plan, const StrategyQuestion& question,
                                    std::string reason) const {
  return {.plan = plan,
          .seconds = predicted_seconds(plan, question.shape, question.wire(), options_.hosts,
                                       options_.rates),
          .reason = std::move(reason),
          .candidates = {}};
}

}  // namespace longspan
