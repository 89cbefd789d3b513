#include "launch/answer_interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <iostream>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/terminal.h"
#include "launch/watched_signals.h"

namespace longspan {
namespace {

constexpr std::chrono::milliseconds kNoticeable{200};  // most steps are over by then

void say_that_it_waits() {
  std::cerr << str("{}longspan: Ctrl-C takes effect after the step under way; another one leaves "
                   "at once\n",
                   shows_on_terminal(STDERR_FILENO) ? "\n" : "")
            << std::flush;
}

}  // namespace

AnswerInterrupt::AnswerInterrupt() {
  if (pipe2(pipe_.data(), O_CLOEXEC) != 0) throw IoError("no pipe for signals could be opened");
  block_watched_signals();
  thread_ = std::thread([this] { watch(); });
}

AnswerInterrupt::~AnswerInterrupt() {
  closing_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);  // wakes the wait; nobody else sees it
  thread_.join();
  for (int end : pipe_) close(end);
}

void AnswerInterrupt::begin_answer() {
  ends_answer_ = false;
  heeded_ = false;
  phase_ = Phase::kAnswering;
}

bool AnswerInterrupt::leaves_at(int signal) {
  if (signal == 0) return false;
  if (signal != SIGINT) return true;
  if (phase_ == Phase::kFollowing) return false;
  return phase_ == Phase::kAwaitingMessage || ends_answer_.exchange(true);
}

int AnswerInterrupt::next_signal() {
  if (waits()) {
    if (const int signal = signal_within(kNoticeable)) return signal;
    if (waits() && !closing_) say_that_it_waits();
  }
  return closing_ ? 0 : signal_within(std::chrono::hours(1));
}

void AnswerInterrupt::watch() {
  int signal = 0;
  while (!leaves_at(signal) && !closing_) signal = next_signal();
  if (closing_) return;
  ends_answer_ = true;
  leaving_ = true;
  const char byte = 0;
  [[maybe_unused]] const ssize_t written = write(pipe_[1], &byte, 1);  // an empty pipe has room
  await_end(signal);
  while (must_save_ && !closing_) {
    if (signal_within(kNoticeable) != 0) break;
  }
  if (!closing_) leave_after(signal);
}

}  // namespace longspan
