#include "comm/cuda/exchange_watch.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "comm/cuda/cuda_check.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr std::chrono::milliseconds kNap(1);

bool has_happened(const Event& event) {
  const auto& cuda = dynamic_cast<const CudaEvent&>(*event.state());
  const cudaError_t code = cudaEventQuery(cuda.native());
  if (code == cudaErrorNotReady) cudaGetLastError();
  return code != cudaErrorNotReady;
}

}  // namespace

ExchangeWatch::Progress ExchangeWatch::between(const Event& before, const Event& behind) {
  return {[before] { return has_happened(before); }, [behind] { return has_happened(behind); }};
}

ExchangeWatch::ExchangeWatch(int ordinal, FindError find_error, GiveUp give_up)
    : ordinal_(ordinal), find_error_(std::move(find_error)), give_up_(std::move(give_up)) {
  thread_ = std::thread([this] { run(); });
}

ExchangeWatch::~ExchangeWatch() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  news_.notify_one();
  thread_.join();
}

void ExchangeWatch::add(Exchange exchange) {
  bool wakes = false;
  {
    const std::lock_guard lock(mutex_);
    added_.push_back(std::move(exchange));
    wakes = std::exchange(rests_, false);  // else it looks by itself
  }
  if (wakes) news_.notify_one();
}

std::optional<std::string> ExchangeWatch::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void ExchangeWatch::run() {
  cudaSetDevice(ordinal_);
  std::deque<Exchange> watched;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      const auto has_news = [&] { return closing_ || !added_.empty(); };
      if (watched.empty()) {
        rests_ = added_.empty();
        news_.wait(lock, has_news);
        rests_ = false;
      } else {
        news_.wait_for(lock, kNap, [&] { return closing_; });
      }
      std::ranges::move(added_, std::back_inserter(watched));
      added_.clear();
      if (closing_ && watched.empty()) return;
      if (failure_) {
        for (const Exchange& late : watched) {
          late.failure->set(std::make_exception_ptr(CommError(*failure_)));
        }
        watched.clear();
        if (closing_) return;
      }
    }
    if (const auto reason = look(watched)) {
      fail(watched, *reason);
      watched.clear();
    }
  }
}

std::optional<std::string> ExchangeWatch::look(std::deque<Exchange>& watched) {
  while (!watched.empty() && watched.front().progress.is_done()) {
    watched.pop_front();
    begun_.reset();
  }
  if (watched.empty()) return std::nullopt;
  if (auto error = find_error_()) return error;
  const auto now = Clock::now();
  const Exchange& first = watched.front();
  if (!begun_ && first.progress.is_reached()) begun_ = now;
  const bool is_late = begun_ && first.deadline && now - *begun_ >= *first.deadline;
  return is_late ? std::optional(first.overdue()) : std::nullopt;
}

/// Streams fail before they go on.
void ExchangeWatch::fail(const std::deque<Exchange>& watched, const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    failure_ = reason;
  }
  for (const Exchange& one : watched) {
    one.failure->set(std::make_exception_ptr(CommError(reason)));
  }
  give_up_();
}

}  // namespace longspan
