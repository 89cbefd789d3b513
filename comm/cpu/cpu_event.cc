#include "comm/cpu/cpu_event.h"

#include <utility>

#include "comm/cpu/brief_spin.h"

namespace longspan {

void CpuEvent::happen(std::exception_ptr failure) {
  std::vector<std::function<void()>> calls;
  {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(failure);
    happened_.store(1, std::memory_order_release);
    calls.swap(calls_);
  }
  happened_.notify_all();
  for (const auto& call : calls) call();
}

bool CpuEvent::try_leave_word(std::function<void()> call) {
  const std::lock_guard lock(mutex_);
  if (happened()) return false;
  calls_.push_back(std::move(call));
  return true;
}

void CpuEvent::await() const {
  if (!spin_briefly([this] { return happened(); })) happened_.wait(0, std::memory_order_acquire);
}

}  // namespace longspan
