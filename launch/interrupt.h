// Ctrl-C and SIGTERM as a flag that is looked at between two steps.
//
// A step may be long, so patience is bounded: half a second after a Ctrl-C (a tenth after SIGTERM),
// or at the second signal, the process leaves with what it has printed so far: exit code 130, or
// 143 after SIGTERM. A job that ends in time by itself gives 130 for both.
#pragma once

#include <atomic>
#include <thread>

namespace longspan {

class InterruptWatch {
 public:
  /// Takes over SIGINT and SIGTERM of the whole process. Create it before any other thread.
  InterruptWatch();
  ~InterruptWatch();
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

  const std::atomic<bool>& interrupted() const { return interrupted_; }

 private:
  void watch();

  std::atomic<bool> interrupted_ = false;
  std::atomic<bool> closing_ = false;
  std::thread thread_;
};

}  // namespace longspan
