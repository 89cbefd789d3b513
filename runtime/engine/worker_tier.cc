// One rank's side of pages that are fetched: from the tier of evicted ones, and from ranks of other
// groups, which send them beside the steps. What plans say of them, and what it has to tell.
#include <algorithm>
#include <chrono>
#include <vector>

#include "comm/error.h"
#include "comm/trace_file.h"
#include "runtime/engine/worker.h"
#include "runtime/memory/evicted_pages.h"
#include "runtime/memory/page_copies.h"

namespace longspan {
namespace {

/// In which a rank that has nothing else to do waits for pages: until somebody else comes.
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
    if (fetch.at.owner == instance_ && !fetch.sent)
      coming.push_back({place_of(fetch.from), contents_of(fetch.at)});
  }
  if (leaving.empty() && coming.empty()) return;
  expects(evicted_ != nullptr, "what is evicted or fetched has a tier");
  evicted_->exchange(*compute_, leaving, coming);
}

void Worker::keep_order() {
  if (evicted_) evicted_->keep_order(*compute_);
}

/// What the tier still copies out of slots, or into them, is over: other streams may use them.
void Worker::await_tier_copies() {
  if (!evicted_) return;
  keep_order();
  await_compute();
}

void Worker::receive_pages(const std::vector<PageFetch>& fetches) {
  const auto comes_here = [this](const PageFetch& fetch) {
    return fetch.sent && fetch.at.owner == instance_;
  };
  if (std::ranges::none_of(fetches, comes_here)) return;
  expects(copies_ != nullptr, "pages are sent where several groups share them");
  await_tier_copies();
  for (const PageFetch& fetch : fetches) {
    if (comes_here(fetch)) {
      copies_->receive(contents_of(fetch.at), counterpart(fetch.from.owner));
    }
  }
}

void Worker::send_pages(const std::vector<PageSend>& pages) {
  await_tier_copies();
  for (const PageSend& page : pages) {
    if (page.from.owner == instance_) copies_->send(contents_of(page.from), counterpart(page.to));
  }
}

void Worker::await_fetches() {
  const TraceSpan span(host_lane(), {"wait for pages", TraceCategory::kWait});
  if (copies_ && copies_->expects_some()) return copies_->await_arrival(kPatience);
  if (!evicted_) return;
  const auto until = std::chrono::steady_clock::now() + kPatience;
  do evicted_->land(*compute_);
  while (evicted_->await_arrival(until));
}

TierNews Worker::fetch_news() {
  TierNews news;
  if (copies_ && copies_->expects_some()) {
    for (const auto& [page, took] : copies_->take_arrived()) {
      news.fetched.push_back({{instance_, page.slot, page.generation}, true, took.count()});
    }
  }
  if (evicted_) note_from_tier(news);
  return news;
}

void Worker::note_from_tier(TierNews& news) {
  for (const StorePlace place : evicted_->take_lost()) {
    news.lost.push_back({instance_, place.slot, place.generation});
  }
  for (const EvictedPages::Outcome& page : evicted_->news(*compute_)) {
    const PageRef at{instance_, page.at.slot, page.at.generation};
    news.fetched.push_back({at, page.good, page.took.count()});
  }
}

}  // namespace longspan
