// The machine seam: what a rank can do with bytes in place.
//
//            CPU backend               CUDA backend
//   Buffer   aligned host memory       device memory
//   Stream   one thread, one queue     cudaStream_t
//   Event    shared completion flag    cudaEvent_t
//
// Orchestration is written once against these types. Two rules make the CPU backend a model of
// the GPU rather than a fallback for it:
//   1. Work that touches a Buffer takes a Stream& and may return before it has run.
//   2. Order between streams exists only where a wait() says so.
// A forgotten wait is then a data race that ThreadSanitizer reports on any laptop.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "comm/trace.h"

namespace longspan {

class TraceFile;

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

/// What a backend knows about an event. Shared: the stream that records it and every stream that
/// waits for it may outlive one another.
class EventState {
 public:
  virtual ~EventState() = default;
};

/// A point in a stream's order. A default Event has already happened.
class Event {
 public:
  Event() = default;
  explicit Event(std::shared_ptr<EventState> state) : state_(std::move(state)) {}
  const std::shared_ptr<EventState>& state() const { return state_; }

 private:
  std::shared_ptr<EventState> state_;
};

/// Runs enqueued work in order, asynchronously to the caller. The destructor drains it.
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  /// Happens once everything enqueued so far has run.
  virtual Event record() = 0;
  /// Work enqueued from now on runs after `event`. Never blocks the caller. If the work before
  /// `event` failed, so does this stream.
  virtual void wait(const Event& event) = 0;
  /// Runs `work` on the host once everything enqueued so far has run. It must not use the stream.
  virtual void call(std::function<void()> work) = 0;
  /// Enqueues what `enqueue` does, which asks for operations on this stream alone. A device may go
  /// through it twice, and launch as one what it has launched before.
  virtual void as_one(const std::function<void()>& enqueue) { enqueue(); }
  /// Blocks the caller until the stream is idle; rethrows the first failure of its work.
  virtual void synchronize() = 0;

  /// What is enqueued between the two is one outline of the trace, if there is one.
  virtual void begin_span(const TraceLabel&) {}
  virtual void end_span() {}
};

/// An outline around what is enqueued while this lives: a layer, a step.
class StreamSpan {
 public:
  StreamSpan(Stream& stream, const TraceLabel& label) : stream_(stream) {
    stream_.begin_span(label);
  }
  StreamSpan(const StreamSpan&) = delete;
  StreamSpan& operator=(const StreamSpan&) = delete;
  ~StreamSpan() { stream_.end_span(); }

 private:
  Stream& stream_;
};

/// Memory of a device, given back when destroyed. Whoever owns a Buffer keeps it until the streams
/// that use it have drained.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Bytes bytes, std::function<void()> release)
      : bytes_(bytes), release_(std::move(release)) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer() {
    if (release_) release_();
  }

  Bytes bytes() const { return bytes_; }
  /// The memory as an array of T; bytes that make no whole T are left out.
  template <typename T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(bytes_.data()), bytes_.size() / sizeof(T)};
  }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
  }

  Bytes bytes_;
  std::function<void()> release_;
};

class Device {
 public:
  virtual ~Device() = default;

  /// Uninitialised memory, aligned to 64 bytes at least. Only at start-up. Throws OutOfMemory.
  virtual Buffer allocate(std::size_t bytes) = 0;
  /// The same of the host's memory, to and from which this device copies without a detour.
  virtual Buffer allocate_on_host(std::size_t bytes) { return allocate(bytes); }
  virtual std::unique_ptr<Stream> new_stream() = 0;
  /// Enqueues dst = src. Sizes must be equal.
  virtual void copy(Stream& stream, Bytes dst, ConstBytes src) = 0;
  /// Enqueues a copy of `rows` rows of `width` bytes each, which lie `dst_stride` and `src_stride`
  /// bytes apart.
  virtual void copy_rows(Stream& stream, std::byte* dst, std::size_t dst_stride,
                         const std::byte* src, std::size_t src_stride, std::size_t width,
                         std::size_t rows) = 0;
  /// For people: "cpu AMD EPYC 7763, 2 threads".
  virtual std::string description() const = 0;

  /// Streams made from now on leave spans there, where the backend can; it outlives them.
  void trace_into(TraceFile* trace) { trace_ = trace; }
  TraceFile* trace() const { return trace_; }

 private:
  TraceFile* trace_ = nullptr;
};

}  // namespace longspan
