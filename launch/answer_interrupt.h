// Ctrl-C in a conversation: during an answer it ends the answer, else the command.
//
//   message awaited     answer comes                     message awaited
//   Ctrl-C: leave       1st: end the answer, 2nd: leave  Ctrl-C: leave
//
// Who writes the answer asks between two steps whether it is to end; where that takes a while, a
// line says so.
//
// SIGTERM always leaves. What is left to do then has as long as InterruptWatch gives it.
#pragma once

#include <array>
#include <atomic>
#include <thread>

namespace longspan {

class AnswerInterrupt {
 public:
  /// Takes over SIGINT and SIGTERM of the whole process. Create it before any other thread. Throws
  /// IoError.
  AnswerInterrupt();
  ~AnswerInterrupt();
  AnswerInterrupt(const AnswerInterrupt&) = delete;
  AnswerInterrupt& operator=(const AnswerInterrupt&) = delete;

  /// For a rank that does as rank 0 says, which alone understands a Ctrl-C.
  void leave_to_rank_0() { phase_ = Phase::kFollowing; }
  void begin_answer();
  void end_answer() { phase_ = Phase::kAwaitingMessage; }
  /// Whether there is something to save before the process may be ended for being late: then it has
  /// until the next signal.
  void must_save(bool must) { must_save_ = must; }

  /// Whether the answer that was begun last is to end. Who is told so heeds it.
  bool ends_answer() {
    if (!ends_answer_) return false;
    heeded_ = true;
    return true;
  }
  /// Whether the command is to end. From then on there is something to read from leaving_fd().
  const std::atomic<bool>& leaving() const { return leaving_; }
  int leaving_fd() const { return pipe_[0]; }

 private:
  enum class Phase { kAwaitingMessage, kAnswering, kFollowing };

  void watch();
  /// Whether the process is to leave because of `signal`.
  bool leaves_at(int signal);
  /// Waits for it; 0 if none came for long.
  int next_signal();
  /// Whether an answer is to end whose step goes on.
  bool waits() const { return ends_answer_ && !heeded_ && phase_ == Phase::kAnswering; }

  std::atomic<Phase> phase_ = Phase::kAwaitingMessage;
  std::atomic<bool> ends_answer_ = false;
  std::atomic<bool> heeded_ = false;
  std::atomic<bool> leaving_ = false;
  std::atomic<bool> closing_ = false;
  std::atomic<bool> must_save_ = false;
  std::array<int, 2> pipe_{};
  std::thread thread_;
};

}  // namespace longspan
