// Pages on their way between KV memory and a store, without anybody waiting for the store.
//
//   worker   stage() copy write()                    read()         arrived() copy  take_back()
//                          \                            \           /
//   buffers   [  page  ]    [ being written ]   [ being read ]  [  page  ]        of host memory
//                                  \                /
//   thread                        store.write   store.read        one at a time, in order
//
// The worker copies between two steps, when nothing else touches KV memory; the thread touches
// buffers and the store alone. So no page of KV memory is ever under way, and what becomes of a
// request meanwhile concerns nobody. Jobs are done in the order in which they were given: a place
// that is written and then read gives back what was written, and one that is read is not
// overwritten before.
//
// Buffers are as many as there are. A page that finds none in time is not written: it is lost,
// which is said as of one that the store could not take. One that is to be read waits for one.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "comm/device.h"
#include "runtime/memory/page_store.h"

namespace longspan {

class PageTier {
 public:
  /// `to_write` and `to_read` buffers, one at least each. Throws OutOfMemory.
  PageTier(Device& device, std::unique_ptr<PageStore> store, std::size_t page_bytes, int to_write,
           int to_read);
  /// Waits for the job that is under way, and drops the others.
  ~PageTier();
  PageTier(const PageTier&) = delete;
  PageTier& operator=(const PageTier&) = delete;

  /// What such a tier allocates.
  static std::size_t bytes(std::size_t page_bytes, int to_write, int to_read) {
    return page_bytes * (to_write + to_read);
  }

  /// A buffer to be filled, for write(). Sleeps until one is free, at most so long; then nothing.
  std::optional<Bytes> stage(std::chrono::nanoseconds most = {});
  void write(StorePlace place, Bytes staged);
  /// Says of a place that it was not written: there was no buffer.
  void lose(StorePlace place);
  /// `ticket`: what arrived() calls it.
  void read(std::int64_t ticket, StorePlace place);

  /// A page that was read, or that could not be: then it has no bytes.
  struct Arrival {
    std::int64_t ticket = 0;
    std::optional<Bytes> page;
    std::chrono::nanoseconds took{0};
  };
  /// The next one, in order; nothing when none is there yet.
  std::optional<Arrival> arrived();
  /// The buffer of an arrival, when it has been copied.
  void take_back(Bytes page);
  /// Places that could not be written, since the last call.
  std::vector<StorePlace> take_lost();
  /// Sleeps until something has arrived, at most so long.
  void await_arrival(std::chrono::milliseconds most);

 private:
  struct Job {
    StorePlace place;
    std::optional<Bytes> page;  // to be written; nothing: to be read
    std::int64_t ticket = 0;
  };

  void serve();
  bool is_ready() const;

  const std::size_t page_bytes_;
  Buffer memory_;
  std::unique_ptr<PageStore> store_;  // of the thread

  std::mutex mutex_;  // guards these
  std::condition_variable news_;
  std::condition_variable progress_;
  std::vector<Bytes> free_to_write_;
  std::vector<Bytes> free_to_read_;
  std::deque<Job> jobs_;
  std::deque<Arrival> arrivals_;
  std::vector<StorePlace> lost_;
  bool closing_ = false;

  std::thread thread_;  // last: it uses all of these
};

}  // namespace longspan
