// A stream of the CPU: a queue, and a thread for the work in it.
//
// Only work (a kernel, a copy) needs the stream's thread. The steps between - waiting for another
// stream, recording, starting a transfer - take a moment and are done by whoever gets the stream
// that far: the caller that enqueues on an idle stream, the thread of the stream it waited for,
// MPI's progress thread. That saves the thread wake-ups that would otherwise be most of the price
// of a small exchange:
//
//   compute    work | record                           work
//                         \ (in compute's thread)       ^  the only wake-up on this rank
//   transfer               wait, start                  |
//                                  \                    |
//   progress                        post ... done: record, wake
//
// At any time at most one thread *drives* a stream, so its steps need no further locking. A failed
// stream turns its remaining work into no-ops, and its events pass the failure on: a broken
// transfer fails the compute that needed it, instead of feeding it stale bytes.
#pragma once

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "comm/device.h"

namespace longspan {

class CpuStream final : public Stream {
 public:
  /// `threads`: how many threads parallel regions inside this stream's work may use (OpenMP's
  /// number for this stream's own thread, which oneDNN and our kernels both take).
  /// `lane`: where its spans go; none without. `cores`: where all these threads run; absent: where
  /// the caller does.
  explicit CpuStream(int threads, TraceLease lane = {},
                     std::optional<cpu_set_t> cores = std::nullopt);
  ~CpuStream() override;

  /// Runs `work` on the stream's thread, after everything enqueued before. An exception it throws
  /// fails the stream.
  void enqueue(std::function<void()> work);
  /// The same, with a span of that name in the trace.
  void enqueue(const TraceLabel& label, std::function<void()> work) {
    enqueue(lane_ ? traced(label, std::move(work)) : std::move(work));
  }

  /// To be called once, from any thread, with the failure if there was one.
  using Done = std::function<void(std::exception_ptr failure)>;
  /// Calls `start`, in whatever thread, after everything enqueued before; the stream goes on when
  /// Done is called. `start` neither blocks nor throws.
  void enqueue_async(std::function<void(Done)> start);

  Event record() override;
  void wait(const Event& event) override;
  void call(std::function<void()> work) override { enqueue({"call"}, std::move(work)); }
  void synchronize() override;
  void begin_span(const TraceLabel& label) override;
  void end_span() override;

  /// For the spans of asynchronous work. Null when nothing is traced.
  TraceLane* lane() const { return lane_.get(); }

 private:
  /// Either work for the stream's thread, or a step for any. A step returns false if the stream
  /// goes on later: then it has arranged for go_on() and must not touch the stream any more.
  struct Item {
    std::function<void()> work;
    std::function<bool()> step;
  };

  std::function<void()> traced(const TraceLabel& label, std::function<void()> work) const;
  void push(Item item);
  void drive();
  void go_on(const std::exception_ptr& failure);
  void hand_to_thread();
  void run(int threads, const std::optional<cpu_set_t>& cores);

  const TraceLease lane_;  // the driver's own
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> queue_;
  bool driven_ = false;  // somebody drives the stream, or has arranged for go_on()
  bool thread_drives_ = false;
  bool closing_ = false;
  std::atomic<bool> has_news_ = false;  // one of the last two is set: what a brief spin looks at
  std::exception_ptr failure_;          // the driver's own
  std::thread thread_;                  // last: starts when everything above exists
};

/// The CPU stream behind `stream`; std::logic_error if it is another device's.
CpuStream& as_cpu(Stream& stream);

}  // namespace longspan
