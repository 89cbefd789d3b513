#include "runtime/memory/page_tier.h"

#include <utility>

#include "comm/error.h"

namespace longspan {

PageTier::PageTier(Device& device, std::unique_ptr<PageStore> store, std::size_t page_bytes,
                   int to_write, int to_read)
    : page_bytes_(page_bytes),
      memory_(device.allocate_on_host(bytes(page_bytes, to_write, to_read))),
      store_(std::move(store)) {
  expects(to_write > 0 && to_read > 0, "a tier has buffers both ways");
  for (int i = 0; i < to_write + to_read; ++i) {
    const Bytes page = memory_.bytes().subspan(i * page_bytes, page_bytes);
    (i < to_write ? free_to_write_ : free_to_read_).push_back(page);
  }
  thread_ = std::thread([this] { serve(); });
}

PageTier::~PageTier() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  news_.notify_one();
  thread_.join();
}

std::optional<Bytes> PageTier::stage(std::chrono::nanoseconds most) {
  std::unique_lock lock(mutex_);
  if (!progress_.wait_for(lock, most, [this] { return !free_to_write_.empty(); })) {
    return std::nullopt;
  }
  const Bytes page = free_to_write_.back();
  free_to_write_.pop_back();
  return page;
}

void PageTier::write(StorePlace place, Bytes staged) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({.place = place, .page = staged});
  }
  news_.notify_one();
}

void PageTier::lose(StorePlace place) {
  const std::lock_guard lock(mutex_);
  lost_.push_back(place);
}

void PageTier::read(std::int64_t ticket, StorePlace place) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({.place = place, .page = std::nullopt, .ticket = ticket});
  }
  news_.notify_one();
}

std::optional<PageTier::Arrival> PageTier::arrived() {
  const std::lock_guard lock(mutex_);
  if (arrivals_.empty()) return std::nullopt;
  const Arrival first = arrivals_.front();
  arrivals_.pop_front();
  return first;
}

void PageTier::take_back(Bytes page) {
  {
    const std::lock_guard lock(mutex_);
    free_to_read_.push_back(page);
  }
  news_.notify_one();
}

std::vector<StorePlace> PageTier::take_lost() {
  const std::lock_guard lock(mutex_);
  return std::exchange(lost_, {});
}

void PageTier::await_arrival(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  progress_.wait_for(lock, most, [this] { return !arrivals_.empty(); });
}

/// Whether the first job can be done.
bool PageTier::is_ready() const {
  return !jobs_.empty() && (jobs_.front().page || !free_to_read_.empty());
}

void PageTier::serve() {
  using Clock = std::chrono::steady_clock;
  std::unique_lock lock(mutex_);
  for (;;) {
    news_.wait(lock, [this] { return closing_ || is_ready(); });
    if (closing_) return;
    const Job job = jobs_.front();
    jobs_.pop_front();
    Bytes page;
    if (job.page) {
      page = *job.page;
    } else {
      page = free_to_read_.back();
      free_to_read_.pop_back();
    }
    lock.unlock();
    const auto begun = Clock::now();
    const bool good = job.page ? store_->write(job.place, page) : store_->read(job.place, page);
    const auto took = Clock::now() - begun;
    lock.lock();
    if (job.page) {
      free_to_write_.push_back(page);
      if (!good) lost_.push_back(job.place);
    } else {
      if (!good) free_to_read_.push_back(page);
      arrivals_.push_back({job.ticket, good ? std::optional(page) : std::nullopt, took});
    }
    progress_.notify_one();
  }
}

}  // namespace longspan
