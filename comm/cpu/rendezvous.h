// Where the two halves of a message between threads meet.
//
//   sender     offer(send) ---------- blocked --------- done
//                            \                        /
//   receiver                  offer(receive): copies                    or the other way round
//
// Whoever comes second copies, so a send is done only when its bytes have been copied: a send
// buffer reused too early, or a landing area still in use, is a true data race that
// ThreadSanitizer reports.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "comm/communicator.h"

namespace longspan {

/// The halves of one exchange that are not done yet. Shared by the thread that waits for them and
/// by the offers a peer may be holding at that moment.
class PendingHalves {
 public:
  explicit PendingHalves(int count) : open_(count) {}

  void finish_one();
  /// The first failure is kept; it ends the wait at once.
  void fail_one(const std::string& reason);
  /// Takes back `count` halves that no peer has seen.
  void withdraw(int count);

  /// Blocks until all is done (true), or until a half failed or the deadline passed (false).
  bool wait(const Patience& patience);
  /// Blocks until no peer copies from or to this exchange any more.
  void wait_for_copies();
  std::string failure();

 private:
  void close(int count, const std::string& reason);
  bool settled() const { return open_ == 0 || failed_; }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<int> open_;
  std::atomic<bool> failed_ = false;
  std::string failure_;
};

/// One half of a message. Of `source` and `landing` it has one.
struct Half {
  std::shared_ptr<PendingHalves> exchange;
  ConstBytes source;
  Bytes landing;
};

/// Messages from one rank to another, in order.
class Lane {
 public:
  Lane(int from, int to) : from_(from), to_(to) {}

  void offer_send(Half send) { offer(std::move(send), true); }
  void offer_receive(Half receive) { offer(std::move(receive), false); }

  /// Takes back the halves of `exchange` that have not met theirs; how many bytes that were.
  std::size_t withdraw(const std::shared_ptr<PendingHalves>& exchange);
  /// One end takes no more part: what waits here, and what comes, fails with `reason`.
  void close(const std::string& reason);

 private:
  void offer(Half half, bool is_send);
  void meet(const Half& send, const Half& receive) const;

  const int from_;
  const int to_;
  std::mutex mutex_;
  std::deque<Half> sends_;     // at most one of the two queues
  std::deque<Half> receives_;  // has anything in it
  std::string closed_;         // why; empty while open
};

}  // namespace longspan
