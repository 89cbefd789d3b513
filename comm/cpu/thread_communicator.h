// Ranks as threads of one process: the world of most tests, and of a process without MPI (size 1).
//
// As strict as a real transport: a send is done only when the receiver has copied (rendezvous.h),
// every exchange has a deadline, and messages of unequal sizes fail both ranks.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace longspan {

class Lane;

class ThreadWorld {
 public:
  /// `deadline`: of every exchange that does not bring its own patience.
  explicit ThreadWorld(int size, std::chrono::milliseconds deadline = std::chrono::minutes(2));
  ~ThreadWorld();

  int size() const { return static_cast<int>(ranks_.size()); }
  /// To be used by the threads of rank `rank`. Lives as long as the world.
  Communicator& rank(int rank);

  /// `rank` takes no more part: a rank that waits for it, or will, fails at once instead of at its
  /// deadline. For a rank whose thread ends, by an exception or otherwise.
  void leave(int rank);

 private:
  class ThreadCommunicator;

  Lane& lane(int from, int to);

  std::vector<std::unique_ptr<Lane>> lanes_;  // (from, to)
  std::vector<std::unique_ptr<ThreadCommunicator>> ranks_;
};

}  // namespace longspan
