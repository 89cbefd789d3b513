// Sees to it that exchanges on GPU streams end: by themselves, or by their deadline.
//
// A GPU that waits for a peer waits for ever, and so does the host that waits for the GPU. So a
// thread asks how far each exchange is: the deadline counts from when the stream reached it and all
// before it were done. One that is overdue, or an error that the transport reports,
// fails the streams of all exchanges that are not done, and then the transport is told to give up,
// upon which they go on.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comm/cuda/cuda_stream.h"

namespace longspan {

class ExchangeWatch {
 public:
  /// What the transport knows of a failure; nothing as long as all is well. Any thread.
  using FindError = std::function<std::optional<std::string>()>;
  /// Ends all that is under way. Called once, by the watch's thread.
  using GiveUp = std::function<void()>;

  /// `ordinal`: of the GPU whose streams these are.
  ExchangeWatch(int ordinal, FindError find_error, GiveUp give_up);
  ~ExchangeWatch();
  ExchangeWatch(const ExchangeWatch&) = delete;
  ExchangeWatch& operator=(const ExchangeWatch&) = delete;

  /// How far an exchange is. Asked by the watch's thread.
  struct Progress {
    std::function<bool()> is_reached;  // whether the stream is there
    std::function<bool()> is_done;
  };
  /// What the events before and behind it say. What cannot be asked for has happened:
  /// synchronize() hears of the GPU's failure.
  static Progress between(const Event& before, const Event& behind);

  struct Exchange {
    Progress progress;
    std::shared_ptr<CudaFailure> failure;  // the stream's
    std::optional<std::chrono::milliseconds> deadline;
    std::function<std::string()> overdue;  // what to say then
  };
  void add(Exchange exchange);
  /// Why exchanges were given up, if they were.
  std::optional<std::string> failure() const;

 private:
  using Clock = std::chrono::steady_clock;

  void run();
  /// Lets go of what is done; the reason if any is overdue or the transport has failed. Looks at
  /// the first that is not done: none waits for one that was begun after it.
  std::optional<std::string> look(std::deque<Exchange>& watched);
  void fail(const std::deque<Exchange>& watched, const std::string& reason);

  const int ordinal_;
  const FindError find_error_;
  const GiveUp give_up_;

  mutable std::mutex mutex_;
  std::condition_variable news_;
  bool rests_ = false;  // nothing is watched
  std::vector<Exchange> added_;
  std::optional<std::string> failure_;
  bool closing_ = false;
  std::optional<Clock::time_point> begun_;  // the first exchange of run()'s list, if it has begun
  std::thread thread_;
};

}  // namespace longspan
