#include "runtime/memory/page_copies.h"

#include <algorithm>
#include <utility>

#include "comm/error.h"
#include "runtime/memory/page_exchange.h"

namespace longspan {

PageCopies::PageCopies(Device& device, Communicator& communicator, const KvPagePool& pool,
                       std::chrono::milliseconds silence)
    : communicator_(communicator), pool_(pool), silence_(silence), stream_(device.new_stream()) {}

PageCopies::~PageCopies() = default;

void PageCopies::send(PageContents page, int to) {
  expects(pool_.holds(page), "what is sent is there");
  PageExchange exchange(pool_);
  exchange.send(page.slot, to);
  exchange.run(*stream_, communicator_);
}

void PageCopies::receive(PageContents page, int from) {
  const Clock::time_point asked = Clock::now();
  PageExchange exchange(pool_);
  exchange.receive(page.slot, from);
  exchange.run(*stream_, communicator_);
  stream_->call([this, page, asked] { note_arrival(page, asked); });
  if (expected_++ == 0) last_news_ = asked;
}

/// By the stream.
void PageCopies::note_arrival(PageContents page, Clock::time_point asked) {
  const Clock::time_point now = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    const bool is_behind_another = asked < last_arrival_;
    arrived_.push_back({page, is_behind_another ? now - last_arrival_ : Clock::duration::zero()});
    last_arrival_ = now;
  }
  news_.notify_one();
}

std::vector<PageCopies::Arrival> PageCopies::take_arrived() {
  std::vector<Arrival> arrived;
  {
    const std::lock_guard lock(mutex_);
    arrived = std::exchange(arrived_, {});
  }
  expected_ -= std::ssize(arrived);
  if (!arrived.empty()) last_news_ = Clock::now();
  // A stream that has failed tells nobody but who waits for it.
  if (expects_some() && Clock::now() - last_news_ > silence_) stream_->synchronize();
  return arrived;
}

void PageCopies::await_arrival(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  news_.wait_for(lock, most, [this] { return !arrived_.empty(); });
}

}  // namespace longspan
