// MPI for one process: one progress thread makes every MPI call from start to end.
//
//   caller            begin
//                         \ hands over
//   progress thread        post receives, sends -- test, yield, nap -- done is called
//
// One thread, because then no lock inside MPI is ever contended, a call cannot overtake another,
// and there is one place that knows what is outstanding. With nothing outstanding it sleeps.
//
// An exchange that misses its deadline is *abandoned*: its requests stay with MPI, which may still
// write their landing areas whenever it is called. So from then on the session makes no MPI call
// at all - which is what makes it safe to free that memory - and fails every exchange at once.
// Nor can MPI be finalised (it would wait for the lost peer): the process leaves by leave_now().
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "comm/communicator.h"

namespace longspan {

/// Messages of one channel never match those of the other.
enum class Channel { kData, kControl };

struct MpiSessionOptions {
  std::size_t largest_piece = std::size_t{256} << 20;
  std::chrono::seconds start_deadline{120};
  std::chrono::seconds leave_deadline{10};
};

class MpiSession {
 public:
  /// Starts MPI: once per process. Throws DeviceError.
  explicit MpiSession(const MpiSessionOptions& options = {});
  /// Finalises MPI together with the other ranks; gives up, and is abandoned, when they do not
  /// come by the leave deadline.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const;
  int size() const;
  const std::vector<int>& host_ranks() const;

  /// Returns at once. `done` is called by the progress thread, once, with the CommError if it
  /// failed; it must not block.
  void begin(Channel channel, std::vector<Send> sends, std::vector<Receive> receives,
             const Patience& patience, std::function<void(std::exception_ptr)> done);

  bool abandoned() const;

 private:
  class ProgressThread;
  std::shared_ptr<ProgressThread> progress_;  // shared with thread_, which may outlive the session
  std::chrono::seconds leave_deadline_;
  std::thread thread_;
};

}  // namespace longspan
