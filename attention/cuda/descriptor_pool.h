// How the descriptions of a call (positions, segments, tables, rows) reach the GPU: written into
// pinned memory while the caller's vectors live, copied in the order of the stream.
//
//   host     take  add add add | enqueue | next call, another slot ...
//   stream                       copy - kernels - event                   time -->
//                                                   `-- the slot is free again from here on
//
// Nothing blocks and, once there are as many slots as calls are ever in flight, nothing is
// allocated: CUDA itself bounds how far the host runs ahead of a stream. Calls may come from
// several threads and go to several streams.
//
// Descriptions of a step that is gone through as one go to its record (comm/cuda/launch_record.h),
// which sends all of them at once. One stream at a time does so.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <type_traits>
#include <vector>

#include "comm/cuda/cuda_stream.h"
#include "comm/cuda/reusable_event.h"
#include "comm/device.h"

namespace longspan {

/// The descriptions of one call. What add() returns is where they will lie on the GPU: an address
/// for the kernels of the call, and for descriptions that point to others.
class Descriptors {
 public:
  /// Bytes that add() of `count` values takes.
  template <typename T>
  static std::size_t room(std::int64_t count) {
    return (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

  template <typename T>
  const T* add(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= kAlignment);
    return static_cast<const T*>(append(values.data(), values.size_bytes()));
  }

 private:
  friend class DescriptorPool;
  static constexpr std::size_t kAlignment = 16;

  const void* append(const void* values, std::size_t bytes);

  LaunchRecord* step_ = nullptr;  // where they go instead
  Bytes host_, device_;
  std::size_t used_ = 0;
  bool held_ = false;  // guarded by the pool's mutex
  ReusableEvent free_;
};

class DescriptorPool {
 public:
  /// Borrows the device, which must be the current one.
  explicit DescriptorPool(Device& device);

  /// An empty one with room for `bytes`, for kernels on `stream`. A call that throws before
  /// enqueue() is over loses the slot.
  Descriptors& take(std::size_t bytes, const CudaStream& stream);
  /// Enqueues the descriptions' copy and what `launch` enqueues on `stream` to use them. The slot
  /// is free for another call once that has run.
  template <typename Launch>
  void enqueue(Descriptors& descriptors, const CudaStream& stream, const Launch& launch) {
    if (descriptors.step_ != nullptr) return launch();
    send(descriptors, stream.native());
    launch();
    give_back(descriptors, stream.native());
  }

 private:
  static void send(const Descriptors& descriptors, cudaStream_t stream);
  void give_back(Descriptors& descriptors, cudaStream_t stream);
  void add_slots(int count, std::size_t bytes);

  Device& device_;
  std::mutex mutex_;
  std::vector<Buffer> memory_;
  std::vector<std::unique_ptr<Descriptors>> slots_;
  Descriptors of_step_;
  std::size_t next_ = 0;  // where the search begins: behind the slot taken last
};

}  // namespace longspan
