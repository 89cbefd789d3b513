// What ranks say of their tiers, for the planner of their group.
#include <algorithm>
#include <utility>

#include "runtime/engine/coordinator.h"

namespace longspan {

/// A page of an instance of several ranks is there when each has its part.
void Coordinator::note_tier(const StepOutcome& outcome) {
  TierNews news;
  for (const RankReport& from : outcome.reports) {
    const TierNews& told = from.report.tier;
    news.lost.insert(news.lost.end(), told.lost.begin(), told.lost.end());
    for (const FetchOutcome& part : told.fetched) {
      auto [known, first] = fetched_parts_.try_emplace(part.at, FetchedParts{.whole = part});
      FetchedParts& page = known->second;
      page.whole.good &= part.good;
      page.whole.took = std::max(page.whole.took, part.took);
      if (++page.told < worker_.ranks().tp()) continue;
      news.fetched.push_back(page.whole);
      fetched_parts_.erase(known);
    }
  }
  if (!news.fetched.empty() || !news.lost.empty()) schedule_.note(outcome.group, news);
}

}  // namespace longspan
