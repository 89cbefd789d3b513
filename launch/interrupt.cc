#include "launch/interrupt.h"

#include <pthread.h>
#include <signal.h>

#include <chrono>

#include "launch/watched_signals.h"

namespace longspan {

InterruptWatch::InterruptWatch() {
  block_watched_signals();
  thread_ = std::thread([this] { watch(); });
}

InterruptWatch::~InterruptWatch() {
  closing_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);  // wakes the wait; nobody else sees it
  thread_.join();
}

void InterruptWatch::watch() {
  int signal = 0;
  while (signal == 0) signal = signal_within(std::chrono::hours(1));
  if (closing_) return;
  interrupted_ = true;
  await_end(signal);
  if (!closing_) leave_after(signal);
}

}  // namespace longspan
