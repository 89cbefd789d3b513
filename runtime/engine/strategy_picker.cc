#include "runtime/engine/strategy_picker.h"

#include <algorithm>

#include "attention/split_chunk.h"
#include "attention/strategy_time.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "runtime/engine/deal_of_chunk.h"

namespace longspan {

StrategyChoice StrategyPicker::pick(const StepPlan& plan, const PrefillChunk& chunk) {
  expects(plan.group.size() == options_.hosts.size(), "a chunk is split over the job's degree");
  Request& request = requests_[chunk.request];
  if (chunk.first == 0) {
    for (int owner : chunk.owners) {
      const auto at = std::ranges::find(plan.group, owner);
      expects(at != plan.group.end(), "every owner is in the group");
      request.owners.push_back(static_cast<int>(at - plan.group.begin()));
    }
  }
  const StrategyQuestion asked = question(chunk, request);
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
  request.previous = choice.plan;
  return choice;
}

StrategyQuestion StrategyPicker::question(const PrefillChunk& chunk, const Request& request) const {
  const int ranks = static_cast<int>(options_.hosts.size());
  const Deal deal = deal_of(chunk, ranks);
  const SequenceStorage storage{
      .page_tokens = options_.page_tokens, .owners = request.owners, .slots = {}};
  std::vector<std::int64_t> cached;
  for (int rank = 0; rank < ranks; ++rank) {
    cached.push_back(owned_columns(storage, rank, chunk.first));
  }
  return {.setting = {.heads = options_.heads,
                      .layout = deal.layout,
                      .block = deal.block,
                      .page_tokens = options_.page_tokens,
                      .hosts = options_.hosts},
          .shape = split_shape(deal, cached),
          .identity = has_identity(deal, options_.page_tokens, request.owners),
          .planned = options_.planned,
          .previous = request.previous};
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
