#include "runtime/memory/evicted_pages.h"

#include <algorithm>
#include <ranges>
#include <set>
#include <utility>

#include "comm/error.h"

namespace longspan {

EvictedPages::EvictedPages(Device& device, KvPagePool& pool, const TierBuffers& buffers,
                           std::int64_t places, std::unique_ptr<PageStore> store,
                           std::chrono::nanoseconds patience)
    : pool_(pool),
      patience_(patience),
      tier_(device, pool.shape().page_bytes(), buffers, places, std::move(store)),
      copies_(device.new_stream()) {}

/// What is to come is held before anything else is put where it is, and read after what leaves has
/// been written: it may be the same.
void EvictedPages::exchange(Stream& compute, std::span<const Leaving> leaving,
                            std::span<const Coming> coming) {
  for (const Coming& page : coming) tier_.hold(page.from);
  if (!leaving.empty()) save(compute, leaving);
  if (coming.empty()) return;
  const std::int64_t first = last_ticket_ + 1;
  for (const Coming& page : coming) fetches_.emplace(++last_ticket_, Fetch{page.to, {}});
  copies_->call([this, first, pages = std::vector(coming.begin(), coming.end())] {
    for (std::size_t i = 0; i < pages.size(); ++i) {
      tier_.read(first + static_cast<std::int64_t>(i), pages[i].from);
    }
  });
}

void EvictedPages::save(Stream& compute, std::span<const Leaving> leaving) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + patience_;
  std::set<std::int32_t> given;
  copies_->wait(compute.record());
  for (const Leaving& page : leaving | std::views::reverse) {
    if (!given.insert(page.to.slot).second) continue;
    expects(pool_.holds(page.from), "a page that is evicted is there");
    const auto buffer = tier_.stage(page.to, std::max(Clock::duration(), until - Clock::now()));
    if (!buffer) {
      tier_.lose(page.to);
      continue;
    }
    pool_.save(*copies_, page.from.slot, *buffer);
    copies_->call([this, to = page.to, full = *buffer] { tier_.write(to, full); });
  }
  compute.wait(copies_->record());
}

void EvictedPages::keep_order(Stream& compute) {
  for (auto& [ticket, fetch] : fetches_) {
    if (!pool_.holds(fetch.to)) compute.wait(std::exchange(fetch.landed, {}));
  }
}

std::vector<EvictedPages::Outcome> EvictedPages::news(Stream& compute) {
  land(compute);
  std::vector<Outcome> outcomes;
  for (const PageTier::Outcome& outcome : tier_.take_outcomes()) {
    const Fetch fetch = fetches_.extract(outcome.ticket).mapped();
    outcomes.push_back({fetch.to, outcome.good, outcome.took});
  }
  return outcomes;
}

/// A page that was given to somebody else meanwhile stays as it is.
void EvictedPages::land(Stream& compute) {
  std::vector<PageTier::Arrival> landing;
  while (const auto arrival = tier_.arrived()) landing.push_back(*arrival);
  if (landing.empty()) return;
  copies_->wait(compute.record());
  for (const PageTier::Arrival& arrival : landing) {
    const PageContents to = fetches_.at(arrival.ticket).to;
    if (pool_.holds(to)) pool_.load(*copies_, to.slot, arrival.page);
  }
  copies_->call([this, landing] {
    for (const PageTier::Arrival& arrival : landing) tier_.landed(arrival);
  });
  const Event landed = copies_->record();
  for (const PageTier::Arrival& arrival : landing) fetches_.at(arrival.ticket).landed = landed;
}

}  // namespace longspan
