// One exchange on its way through MPI: made by the thread that wants it, then posted, polled and
// ended by the progress thread.
//
//   caller     construct, hand over
//                        \ hands over
//   progress              post -- poll -- poll -- ... -- poll: done -- finish
#pragma once

#include <mpi.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace longspan {

class MpiExchange {
 public:
  using Clock = std::chrono::steady_clock;

  /// To be called once, with the failure if there was one: a CommError.
  using Done = std::function<void(std::exception_ptr failure)>;

  /// The lists hold no zero-length messages.
  MpiExchange(int rank, std::vector<Send> sends, std::vector<Receive> receives, Patience patience,
              Done done);

  /// Receives first, so that a message finds its landing area; in pieces of at most
  /// `largest_piece` bytes, MPI's counts being int.
  void post(MPI_Comm comm, std::size_t largest_piece);

  enum class Progress { kNone, kSome, kDone };
  /// kDone also when it failed: by MPI's word, by a wrong size, by its deadline. Then finish() it.
  Progress poll(Clock::time_point now);

  /// Whether a failed exchange left requests with MPI, which may still touch their buffers.
  bool has_abandoned() const { return open_ > 0; }
  /// How long the thread that polls may sleep before it looks again.
  std::chrono::nanoseconds longest_nap(Clock::time_point now) const;
  /// Calls `done` with what poll() found.
  void finish();
  /// Ends it with a failure instead.
  void give_up(const std::string& reason);

 private:
  struct Piece {
    int peer;
    std::size_t bytes;
    bool incoming;
  };

  template <typename Message, typename Start>
  void post_pieces(const Message& message, bool incoming, std::size_t largest_piece, Start start);
  std::string flaw(const Piece& piece, MPI_Status& status) const;
  std::string overdue() const;

  const int rank_;
  const std::vector<Send> sends_;
  const std::vector<Receive> receives_;
  const Patience patience_;
  const Done done_;
  const Clock::time_point begun_ = Clock::now();
  Clock::time_point last_progress_ = begun_;

  std::vector<Piece> pieces_;          // pieces_[i] is what
  std::vector<MPI_Request> requests_;  // requests_[i] moves
  std::vector<int> completed_;         // MPI_Testsome's answer: room made once
  std::vector<MPI_Status> statuses_;
  std::size_t open_ = 0;
  std::string failure_;
};

}  // namespace longspan
