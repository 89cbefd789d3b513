#include "runtime/memory/page_tier.h"

#include <utility>

#include "comm/crc32c.h"
#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

template <typename List>
auto take_first(List& list) {
  auto first = list.front();
  list.pop_front();
  return first;
}

Bytes take_last(std::vector<Bytes>& list) {
  const Bytes last = list.back();
  list.pop_back();
  return last;
}

}  // namespace

PageTier::PageTier(Device& device, std::size_t page_bytes, const TierBuffers& buffers,
                   std::int64_t places, std::unique_ptr<PageStore> store)
    : memory_(device.allocate_on_host(buffers.all() * page_bytes)),
      kept_(buffers.kept),
      places_(places),
      store_(std::move(store)) {
  expects(store_ ? buffers.to_write > 0 && buffers.to_read > 0 : kept_ == places,
          "a store is reached through buffers, and without one all pages are kept in theirs");
  for (std::int64_t i = 0; i < buffers.all(); ++i) {
    const Bytes page = memory_.bytes().subspan(i * page_bytes, page_bytes);
    (i < buffers.to_read ? free_to_read_ : free_).push_back(page);
  }
  thread_ = std::thread([this] { serve(); });
}

PageTier::~PageTier() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  jobs_came_.notify_one();
  thread_.join();
}

std::optional<Bytes> PageTier::stage(StorePlace place, std::chrono::nanoseconds most) {
  expects(place.slot >= 0 && place.slot < places_, "a place of the tier");
  Lock lock(mutex_);
  std::optional<Bytes> page;
  progress_.wait_for(lock, most, [&] {
    page = try_stage(place.slot);
    return page.has_value();
  });
  if (page || kept_ == 0) return page;
  const auto oldest = host_.take_oldest();
  if (!oldest) return std::nullopt;
  lose_now(oldest->slot);
  return oldest->page;
}

/// The place's own buffer first: without a store there is no other, once all are in use. Whoever
/// holds the place waits for what is about to be written there.
std::optional<Bytes> PageTier::try_stage(std::int32_t slot) {
  if (const auto own = host_.remove(slot)) return own;
  if (free_.empty()) return std::nullopt;
  return take_last(free_);
}

void PageTier::write(StorePlace place, Bytes staged) {
  {
    const std::lock_guard lock(mutex_);
    writes_.push_back({place, staged});
  }
  jobs_came_.notify_one();
}

void PageTier::lose(StorePlace place) {
  const std::lock_guard lock(mutex_);
  lost_.push_back(place);
}

void PageTier::lose_now(std::int32_t slot) {
  lost_.push_back({slot, written_.at(slot).generation});
  written_.erase(slot);
}

void PageTier::hold(StorePlace place) {
  const std::lock_guard lock(mutex_);
  host_.hold(place.slot);
}

void PageTier::read(std::int64_t ticket, StorePlace place) {
  expects(place.slot >= 0 && place.slot < places_, "a place of the tier");
  {
    const std::lock_guard lock(mutex_);
    reads_.push_back({ticket, place});
  }
  jobs_came_.notify_one();
}

std::optional<PageTier::Arrival> PageTier::arrived() {
  const std::lock_guard lock(mutex_);
  if (arrivals_.empty()) return std::nullopt;
  return take_first(arrivals_);
}

void PageTier::landed(const Arrival& arrival) {
  {
    const std::lock_guard lock(mutex_);
    host_.let_go(arrival.slot);
    if (arrival.from_store) free_to_read_.push_back(arrival.page);
    outcomes_.push_back({arrival.ticket, true, arrival.took});
  }
  jobs_came_.notify_one();
  progress_.notify_all();
}

std::vector<PageTier::Outcome> PageTier::take_outcomes() {
  const std::lock_guard lock(mutex_);
  return std::exchange(outcomes_, {});
}

std::vector<StorePlace> PageTier::take_lost() {
  const std::lock_guard lock(mutex_);
  return std::exchange(lost_, {});
}

bool PageTier::await_arrival(std::chrono::steady_clock::time_point until) {
  Lock lock(mutex_);
  progress_.wait_until(lock, until, [this] { return !arrivals_.empty() || !outcomes_.empty(); });
  return !arrivals_.empty() && outcomes_.empty();
}

void PageTier::serve() {
  Lock lock(mutex_);
  for (;;) {
    jobs_came_.wait(
        lock, [this] { return closing_ || !writes_.empty() || can_read() || must_move_on(); });
    if (closing_) return;
    if (!writes_.empty()) {
      take_in(lock);
    } else if (can_read()) {
      look_up(lock);
    } else {
      move_on(lock);
    }
    progress_.notify_all();
  }
}

std::optional<PageTier::Written> PageTier::written_to(StorePlace place) const {
  const auto found = written_.find(place.slot);
  if (found == written_.end() || found->second.generation != place.generation) return std::nullopt;
  return found->second;
}

/// Whether the first one can be read, or there is nothing to read: only the store wants a buffer.
bool PageTier::can_read() const {
  if (reads_.empty()) return false;
  const StorePlace place = reads_.front().place;
  return !free_to_read_.empty() || !store_ || !written_to(place) || host_.find(place.slot);
}

bool PageTier::must_move_on() const { return store_ && host_.size() > kept_ && host_.has_idle(); }

/// It stays in the buffer that it came in.
void PageTier::take_in(Lock& lock) {
  const Write job = take_first(writes_);
  lock.unlock();
  const std::uint32_t crc = crc32c(job.page);
  if (store_) store_->forget(job.place.slot);
  lock.lock();
  written_[job.place.slot] = {job.place.generation, crc};
  if (const auto before = host_.keep(job.place.slot, job.page)) free_.push_back(*before);
}

void PageTier::look_up(Lock& lock) {
  const Read job = take_first(reads_);
  const std::int32_t slot = job.place.slot;
  const std::optional<Written> written = written_to(job.place);
  std::optional<Bytes> page = written ? host_.find(slot) : std::nullopt;
  const bool from_store = written && !page && store_;
  if (from_store) page = take_last(free_to_read_);
  lock.unlock();
  const auto begun = std::chrono::steady_clock::now();
  const bool good = page && (!from_store || store_->read(slot, *page)) &&
                    is_whole(*page, written->crc, from_store);
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - begun;
  lock.lock();
  if (good) {
    arrivals_.push_back({job.ticket, slot, *page, from_store, took});
    return;
  }
  if (from_store) free_to_read_.push_back(*page);
  if (written) written_.erase(slot);
  if (page && !from_store) free_.push_back(*host_.remove(slot));
  host_.let_go(slot);
  outcomes_.push_back({job.ticket, false, took});
}

void PageTier::move_on(Lock& lock) {
  const HostPages::Kept oldest = *host_.take_oldest();
  lock.unlock();
  const bool good = store_->write(oldest.slot, oldest.page);
  lock.lock();
  free_.push_back(oldest.page);
  if (!good) lose_now(oldest.slot);
}

/// Logs the first of several that are not.
bool PageTier::is_whole(ConstBytes page, std::uint32_t crc, bool from_store) {
  const bool whole = crc32c(page) == crc;
  if (!whole && !std::exchange(said_damage_, true)) {
    log(LogLevel::kWarning,
        str("an evicted page was damaged {}: its checksum is another; it is computed again, and "
            "this is said once until one comes back whole",
            from_store ? "on the disk" : "in host memory"));
  }
  if (whole) said_damage_ = false;
  return whole;
}

}  // namespace longspan
