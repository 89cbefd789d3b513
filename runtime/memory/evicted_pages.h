// What one rank keeps of pages that were evicted from its KV memory: copies them out before their
// slots are written again, and in when they are wanted, on a stream of its own.
//
//   compute   step n | wait(out) ........ step n + 1                        | step n + 2
//                     \                     |                               /
//   copies             wait, save, record   | load ... say that it landed --
//                          \                /
//   tier's thread           checksum, store, look up, checksum
//
// The host waits for none of it, but for buffers as long as its patience lasts. The next step
// begins when what it displaces has been copied, as it may write there at once. A page that comes
// back is copied while others compute, and nobody uses it before news() has told of it.
//
// The worker's thread has it to itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/device.h"
#include "runtime/memory/kv_page_pool.h"
#include "runtime/memory/page_tier.h"

namespace longspan {

class EvictedPages {
 public:
  /// `places` and the rest as of PageTier. `patience`: how long one call may wait for buffers.
  /// Throws OutOfMemory. The pool outlives it.
  EvictedPages(Device& device, KvPagePool& pool, const TierBuffers& buffers, std::int64_t places,
               std::unique_ptr<PageStore> store, std::chrono::nanoseconds patience);

  /// A page that leaves, and where it is kept; and one that is to hold what is kept there.
  struct Leaving {
    PageContents from;
    StorePlace to;
  };
  struct Coming {
    StorePlace from;
    PageContents to;
  };
  /// What is enqueued on `compute` from now on may write to pages that leave. Where not all find
  /// buffers the first ones do not; a place that is named twice is the later one's.
  void exchange(Stream& compute, std::span<const Leaving> leaving, std::span<const Coming> coming);

  /// Before work that writes to pages which were claimed since: those of them that are being
  /// filled for somebody who has left have landed first.
  void keep_order(Stream& compute);

  struct Outcome {
    PageContents at;
    bool good = false;  // or what was kept is damaged, or gone
    std::chrono::nanoseconds took{0};
  };
  /// Begins to copy what has been read, to pages that still wait for it.
  void land(Stream& compute);
  /// The same, and what became of pages that were to come.
  std::vector<Outcome> news(Stream& compute);
  /// Places whose pages are not there any more.
  std::vector<StorePlace> take_lost() { return tier_.take_lost(); }
  /// As of PageTier: where it is true there is something to land, and nothing to tell.
  bool await_arrival(std::chrono::steady_clock::time_point until) {
    return tier_.await_arrival(until);
  }

 private:
  struct Fetch {
    PageContents to;
    Event landed;  // once it is being copied
  };

  void save(Stream& compute, std::span<const Leaving> leaving);

  KvPagePool& pool_;
  const std::chrono::nanoseconds patience_;
  PageTier tier_;
  std::map<std::int64_t, Fetch> fetches_;  // by ticket
  std::int64_t last_ticket_ = 0;
  std::unique_ptr<Stream> copies_;  // last: drains before what its work touches goes
};

}  // namespace longspan
