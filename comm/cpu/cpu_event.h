// An event of a CPU stream: a flag, the failure of what came before it, and who waits for it.
//
// A host thread may block for it. A stream does not: it leaves word, and whoever makes the event
// happen takes the stream further. So an event costs no wake-up of its own.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <vector>

#include "comm/device.h"

namespace longspan {

class CpuEvent final : public EventState {
 public:
  /// Once. Calls, in this thread, everybody who left word.
  void happen(std::exception_ptr failure);

  bool happened() const { return happened_.load(std::memory_order_acquire) != 0; }

  /// Leaves word; false, and nothing is kept, if it has happened already.
  bool try_leave_word(std::function<void()> call);

  /// Blocks until it has happened.
  void await() const;

  /// The failure of the work before it, if any. Only once it has happened.
  const std::exception_ptr& failure() const { return failure_; }

 private:
  std::mutex mutex_;
  std::vector<std::function<void()>> calls_;
  std::exception_ptr failure_;  // published by happened_
  std::atomic<int> happened_ = 0;
};

}  // namespace longspan
