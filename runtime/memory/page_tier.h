// Pages that left KV memory: in buffers of host memory as long as those are not needed for others,
// then in a store, if there is one.
//
//   stage(), copy, write()                                 arrived(), copy, landed()
//            |                                                 ^           ^
//            v                                                 |           |
//   buffers  checksum | page | page | page |  ----> checksum --'      checksum
//                        |                                                 |
//                        '-- used least recently                       | page |
//                            v                                             |
//   store             | page | page | page | page | page |  ---------------'
//
// Host memory in front of a disk is thus nothing but more buffers: with few, a page is on its way
// to the disk at once. A page is checked against the checksum that it had when it came, wherever it
// was since. Nobody waits for the store, nor for checksums: a thread does both. What is to be read
// goes before what is to be moved on.
//
// A place is not given to other contents while somebody reads it, from hold() to landed(): its user
// sees to that, and for as long its page stays where it is.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "comm/device.h"
#include "runtime/memory/host_pages.h"
#include "runtime/memory/page_store.h"

namespace longspan {

/// A place, and which of the contents that it has had: a later one has a higher generation.
struct StorePlace {
  std::int32_t slot = 0;
  std::uint32_t generation = 0;

  friend bool operator==(const StorePlace&, const StorePlace&) = default;
};

/// In pages. A store needs one at least of those behind `kept`.
struct TierBuffers {
  std::int64_t kept = 0;  // that stay there
  int to_write = 0;       // on their way to the store
  int to_read = 0;        // from it

  std::int64_t all() const { return kept + to_write + to_read; }
};

class PageTier {
 public:
  /// `places`: slots are below. Without a store so many as are kept. Throws OutOfMemory.
  PageTier(Device& device, std::size_t page_bytes, const TierBuffers& buffers, std::int64_t places,
           std::unique_ptr<PageStore> store);
  /// Waits for what is under way, and drops the rest.
  ~PageTier();
  PageTier(const PageTier&) = delete;
  PageTier& operator=(const PageTier&) = delete;

  /// A buffer to be filled, for write(): what the place had before is gone. Sleeps until one is
  /// free, at most so long; then what was used least recently gives way, if pages are kept here.
  /// Nothing where none is to be had.
  std::optional<Bytes> stage(StorePlace place, std::chrono::nanoseconds most = {});
  /// From any thread.
  void write(StorePlace place, Bytes staged);
  /// Says of a place that it was not written: there was no buffer.
  void lose(StorePlace place);

  /// The place is going to be read: its page stays where it is.
  void hold(StorePlace place);
  /// Of a place that is held and that was written before, from any thread. `ticket`: what it is
  /// called later.
  void read(std::int64_t ticket, StorePlace place);

  /// A page that was read, to be copied.
  struct Arrival {
    std::int64_t ticket = 0;
    std::int32_t slot = 0;
    Bytes page;
    bool from_store = false;
    std::chrono::nanoseconds took{0};
  };
  std::optional<Arrival> arrived();
  /// It has been copied, or need not be: its place is held no more. From any thread.
  void landed(const Arrival& arrival);

  /// What became of a read: its page has landed, or could not be had.
  struct Outcome {
    std::int64_t ticket = 0;
    bool good = false;
    std::chrono::nanoseconds took{0};
  };
  std::vector<Outcome> take_outcomes();
  /// Places whose pages are not there any more, since the last call.
  std::vector<StorePlace> take_lost();
  /// Sleeps until there is an arrival or an outcome, at most until then. True: an arrival, and no
  /// outcome.
  bool await_arrival(std::chrono::steady_clock::time_point until);

 private:
  struct Written {
    std::uint32_t generation = 0;
    std::uint32_t crc = 0;
  };
  struct Write {
    StorePlace place;
    Bytes page;
  };
  struct Read {
    std::int64_t ticket = 0;
    StorePlace place;
  };
  using Lock = std::unique_lock<std::mutex>;

  void serve();
  bool can_read() const;
  bool must_move_on() const;
  void take_in(Lock& lock);
  void look_up(Lock& lock);
  void move_on(Lock& lock);
  std::optional<Written> written_to(StorePlace place) const;
  bool is_whole(ConstBytes page, std::uint32_t crc, bool from_store);
  void lose_now(std::int32_t slot);
  std::optional<Bytes> try_stage(std::int32_t slot);

  Buffer memory_;
  const std::int64_t kept_, places_;
  std::unique_ptr<PageStore> store_;  // of the thread
  bool said_damage_ = false;          // likewise

  std::mutex mutex_;  // guards these
  std::condition_variable jobs_came_;
  std::condition_variable progress_;
  HostPages host_;
  std::unordered_map<std::int32_t, Written> written_;  // by slot, of those that have something
  std::vector<Bytes> free_;
  std::vector<Bytes> free_to_read_;
  std::deque<Write> writes_;
  std::deque<Read> reads_;
  std::deque<Arrival> arrivals_;
  std::vector<Outcome> outcomes_;
  std::vector<StorePlace> lost_;
  bool closing_ = false;

  std::thread thread_;  // last: it uses all of these
};

}  // namespace longspan
