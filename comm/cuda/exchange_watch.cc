#include "comm/cuda/exchange_watch.h"

#include <utility>

#include "comm/cuda/cuda_check.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr std::chrono::milliseconds kNap(1);

/// What cannot be asked for has happened: synchronize() hears of the GPU's failure.
bool has_happened(const Event& event) {
  const auto& cuda = dynamic_cast<const CudaEvent&>(*event.state());
  const cudaError_t code = cudaEventQuery(cuda.native());
  if (code == cudaErrorNotReady) cudaGetLastError();
  return code != cudaErrorNotReady;
}

}  // namespace

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
  {
    const std::lock_guard lock(mutex_);
    added_.push_back(std::move(exchange));
  }
  news_.notify_one();
}

std::optional<std::string> ExchangeWatch::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void ExchangeWatch::run() {
  cudaSetDevice(ordinal_);
  std::vector<Watched> watched;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      const auto has_news = [&] { return closing_ || !added_.empty(); };
      if (watched.empty()) {
        news_.wait(lock, has_news);
      } else {
        news_.wait_for(lock, kNap, [&] { return closing_; });
      }
      for (Exchange& exchange : added_) watched.push_back({std::move(exchange), {}});
      added_.clear();
      if (closing_ && watched.empty()) return;
      if (failure_) {
        for (const Watched& late : watched) {
          late.exchange.failure->set(std::make_exception_ptr(CommError(*failure_)));
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

std::optional<std::string> ExchangeWatch::look(std::vector<Watched>& watched) {
  std::erase_if(watched, [](const Watched& one) { return has_happened(one.exchange.done); });
  if (watched.empty()) return std::nullopt;
  if (auto error = find_error_()) return error;
  const auto now = Clock::now();
  for (Watched& one : watched) {
    if (!one.begun && has_happened(one.exchange.reached)) one.begun = now;
    if (one.begun && one.exchange.deadline && now - *one.begun >= *one.exchange.deadline) {
      return one.exchange.overdue;
    }
  }
  return std::nullopt;
}

/// Streams fail before they go on.
void ExchangeWatch::fail(const std::vector<Watched>& watched, const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    failure_ = reason;
  }
  for (const Watched& one : watched) {
    one.exchange.failure->set(std::make_exception_ptr(CommError(reason)));
  }
  give_up_();
}

}  // namespace longspan
