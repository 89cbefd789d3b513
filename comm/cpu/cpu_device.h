// The CPU as a device: a stream is a thread with a queue.
//
// A failed stream turns its remaining work into no-ops, and its events pass the failure on: a
// broken transfer fails the compute that needed it, instead of feeding it stale bytes.
#pragma once

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
  explicit CpuStream(int threads);
  ~CpuStream() override;

  /// Runs `work` on the stream's thread, after everything enqueued before. An exception it throws
  /// fails the stream.
  void enqueue(std::function<void()> work);

  Event record() override;
  void wait(const Event& event) override;
  void call(std::function<void()> work) override { enqueue(std::move(work)); }
  void synchronize() override;

 private:
  void push(std::function<void()> work);
  void run(int threads);
  std::optional<std::function<void()>> next();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool closing_ = false;
  bool idle_ = false;                   // nothing queued, nothing running
  std::atomic<bool> has_news_ = false;  // queue_ or closing_ changed: what a brief spin looks at
  std::exception_ptr failure_;          // written by the stream's thread, read by others when idle_
  std::thread thread_;                  // last: starts when everything above exists
};

/// The CPU stream behind `stream`; std::logic_error if it is another device's.
CpuStream& as_cpu(Stream& stream);

class CpuDevice final : public Device {
 public:
  /// `threads` per stream, 1 at least.
  explicit CpuDevice(int threads);

  Buffer allocate(std::size_t bytes) override;
  std::unique_ptr<Stream> new_stream() override;
  void copy(Stream& stream, Bytes dst, ConstBytes src) override;
  std::string description() const override;
  int threads() const { return threads_; }

 private:
  int threads_;
};

}  // namespace longspan
