// One rank's side of pages that are fetched. From the tier of evicted ones, to which they are
// copied before their slots are written again, and from which when they have come back, each
// between two steps; and from ranks of other groups, which send them beside the steps.
#include <algorithm>
#include <chrono>
#include <ranges>
#include <set>
#include <utility>

#include "comm/error.h"
#include "comm/trace_file.h"
#include "runtime/engine/worker.h"
#include "runtime/memory/page_copies.h"
#include "runtime/memory/page_tier.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

/// In which a rank that has nothing else to do waits for its tier: until somebody else comes.
constexpr std::chrono::milliseconds kPatience{20};
/// Of one step, for buffers: a request that fetches a long prefix may displace another one at once.
constexpr std::chrono::milliseconds kPatienceToSpill{100};

PageContents contents_at(PageRef page) { return {page.slot, page.generation}; }

StorePlace place_of(PageRef place) { return {place.slot, place.generation}; }

}  // namespace

/// Nobody refers to them any more, and nothing else was written there yet. Those that went last are
/// first: if not all find buffers, the beginnings of prompts do. A place that was given away again
/// since is the later one's.
void Worker::spill_pages(const std::vector<SpilledPage>& pages) {
  const auto until = Clock::now() + kPatienceToSpill;
  std::vector<std::pair<StorePlace, Bytes>> staged;
  const auto hand_over = [&] {
    if (staged.empty()) return;
    await_compute();
    for (const auto& [place, page] : std::exchange(staged, {})) tier_->write(place, page);
  };
  std::set<std::int32_t> given;
  for (const SpilledPage& page : pages | std::views::reverse) {
    if (page.from.owner != instance_ || !given.insert(page.to.slot).second) continue;
    expects(tier_ && kv_.pages().holds({page.from.slot, page.from.generation}),
            "a page that is evicted is there, and a tier to take it");
    std::optional<Bytes> buffer = tier_->stage();
    if (!buffer) {
      hand_over();
      buffer = tier_->stage(std::max(Clock::duration::zero(), until - Clock::now()));
    }
    if (!buffer) {
      tier_->lose(place_of(page.to));
      continue;
    }
    kv_.pages().save(*compute_, page.from.slot, *buffer);
    staged.emplace_back(place_of(page.to), *buffer);
  }
  hand_over();
}

void Worker::begin_fetches(const std::vector<PageFetch>& fetches) {
  for (const PageFetch& fetch : fetches) {
    if (fetch.at.owner != instance_) continue;
    if (fetch.sent) {
      expects(copies_ != nullptr, "pages are sent where several groups share them");
      copies_->receive(contents_at(fetch.at), counterpart(fetch.from.owner));
      continue;
    }
    expects(tier_ != nullptr, "what is fetched was in a tier");
    tier_->read(++last_ticket_, place_of(fetch.from));
    fetching_.emplace(last_ticket_, fetch.at);
  }
}

void Worker::send_pages(const std::vector<PageSend>& pages) {
  for (const PageSend& page : pages) {
    if (page.from.owner == instance_) copies_->send(contents_at(page.from), counterpart(page.to));
  }
}

void Worker::await_fetches() {
  const TraceSpan span(host_lane(), {"wait for pages", TraceCategory::kWait});
  if (copies_ && copies_->expects_some()) return copies_->await_arrival(kPatience);
  if (tier_) tier_->await_arrival(kPatience);
}

TierNews Worker::fetch_news() {
  TierNews news;
  if (copies_ && copies_->expects_some()) {
    for (const auto& [page, took] : copies_->take_arrived()) {
      news.fetched.push_back({{instance_, page.slot, page.generation}, true, took.count()});
    }
  }
  if (tier_) note_from_tier(news);
  return news;
}

/// A page that was given to somebody else meanwhile stays as it is.
void Worker::note_from_tier(TierNews& news) {
  for (const StorePlace place : tier_->take_lost()) {
    news.lost.push_back({instance_, place.slot, place.generation});
  }
  std::vector<Bytes> copied;
  while (const auto arrival = tier_->arrived()) {
    const PageRef at = fetching_.extract(arrival->ticket).mapped();
    news.fetched.push_back({at, arrival->page.has_value(), arrival->took.count()});
    if (!arrival->page) continue;
    copied.push_back(*arrival->page);
    if (!kv_.pages().holds({at.slot, at.generation})) continue;
    kv_.pages().load(*compute_, at.slot, *arrival->page);
  }
  if (copied.empty()) return;
  await_compute();
  for (const Bytes page : copied) tier_->take_back(page);
}

}  // namespace longspan
