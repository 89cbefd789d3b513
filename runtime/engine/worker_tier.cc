// One rank's side of the tier of evicted pages: what plans say of it, and what it has to tell.
#include <chrono>
#include <vector>

#include "comm/error.h"
#include "comm/trace_file.h"
#include "runtime/engine/worker.h"
#include "runtime/memory/evicted_pages.h"

namespace longspan {
namespace {

/// In which a rank that has nothing else to do waits for its tier: until somebody else comes.
constexpr std::chrono::milliseconds kPatience{20};

PageContents contents_of(PageRef page) { return {page.slot, page.generation}; }
StorePlace place_of(PageRef place) { return {place.slot, place.generation}; }

}  // namespace

/// Nobody refers to pages that leave any more, and nothing else was written there yet. Those that
/// went last are beginnings of prompts: they find buffers first.
void Worker::exchange_with_tier(const StepPlan& plan) {
  std::vector<EvictedPages::Leaving> leaving;
  for (const SpilledPage& page : plan.spills) {
    if (page.from.owner == instance_)
      leaving.push_back({contents_of(page.from), place_of(page.to)});
  }
  std::vector<EvictedPages::Coming> coming;
  for (const PageFetch& fetch : plan.fetches) {
    if (fetch.at.owner == instance_)
      coming.push_back({place_of(fetch.from), contents_of(fetch.at)});
  }
  if (leaving.empty() && coming.empty()) return;
  expects(evicted_ != nullptr, "what is evicted or fetched has a tier");
  evicted_->exchange(*compute_, leaving, coming);
}

void Worker::keep_order() {
  if (evicted_) evicted_->keep_order(*compute_);
}

void Worker::await_tier() {
  const TraceSpan span(host_lane(), {"wait for the tier", TraceCategory::kWait});
  if (!evicted_) return;
  const auto until = std::chrono::steady_clock::now() + kPatience;
  do evicted_->land(*compute_);
  while (evicted_->await_arrival(until));
}

TierNews Worker::tier_news() {
  TierNews news;
  if (!evicted_) return news;
  for (const StorePlace place : evicted_->take_lost()) {
    news.lost.push_back({instance_, place.slot, place.generation});
  }
  for (const EvictedPages::Outcome& page : evicted_->news(*compute_)) {
    const PageRef at{instance_, page.at.slot, page.at.generation};
    news.fetched.push_back({at, page.good, page.took.count()});
  }
  return news;
}

}  // namespace longspan
