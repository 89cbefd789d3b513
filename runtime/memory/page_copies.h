// Full pages between ranks of different groups, beside the steps of both.
//
//   lender     step | step | step         borrower   step | step | step | it has come
//   a stream      send 0, 1, 2 ....                   receive 0, 1, 2 ...... /
//
// Neither waits for the other: who comes first has a stream that waits. Pages go one by one in the
// order in which they were asked for, the same on all ranks, so that nobody waits for somebody who
// waits. Ranks of different groups have nothing else to say to each other by that communicator, or
// their messages would be mixed up. What is sent is not written until it has come, and what comes
// is read by nobody before: that is for those who ask to see to.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "comm/communicator.h"
#include "comm/device.h"
#include "runtime/memory/kv_page_pool.h"

namespace longspan {

class PageCopies {
 public:
  /// Borrows all. `silence`: for which nothing may come that is expected, as long as an exchange
  /// may take.
  PageCopies(Device& device, Communicator& communicator, const KvPagePool& pool,
             std::chrono::milliseconds silence);
  /// Waits for what is under way.
  ~PageCopies();
  PageCopies(const PageCopies&) = delete;
  PageCopies& operator=(const PageCopies&) = delete;

  /// All layers of a page go to rank `to`, or come from rank `from`.
  void send(PageContents page, int to);
  void receive(PageContents page, int from);

  struct Arrival {
    PageContents page;
    /// Since the one before it came; 0 where it was asked for after that, and so waited for its
    /// sender to have time.
    std::chrono::nanoseconds took{0};
  };
  /// What has come since the last call. Throws the CommError of what could not come.
  std::vector<Arrival> take_arrived();
  bool expects_some() const { return expected_ > 0; }
  /// Sleeps until something has come, at most so long.
  void await_arrival(std::chrono::milliseconds most);

 private:
  using Clock = std::chrono::steady_clock;

  void note_arrival(PageContents page, Clock::time_point asked);

  Communicator& communicator_;
  const KvPagePool& pool_;
  const std::chrono::milliseconds silence_;
  std::int64_t expected_ = 0;      // that take_arrived() has not told
  Clock::time_point last_news_{};  // or when something was asked for

  std::mutex mutex_;  // guards these
  std::condition_variable news_;
  std::vector<Arrival> arrived_;
  Clock::time_point last_arrival_{};

  std::unique_ptr<Stream> stream_;  // last: drains before what its work touches goes
};

}  // namespace longspan
