#include "comm/throttled_communicator.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "comm/error.h"

namespace longspan {

ThrottledCommunicator::ThrottledCommunicator(Communicator& inner, const LinkThrottle& throttle)
    : inner_(inner), throttle_(throttle) {
  expects(throttle.bytes_per_second > 0 && throttle.latency.count() >= 0,
          "a link moves bytes, and not before they are sent");
}

void ThrottledCommunicator::exchange(Stream& stream, std::vector<Send> sends,
                                     std::vector<Receive> receives) {
  const std::size_t out = over_the_link(sends), in = over_the_link(receives);
  if (out == 0 && in == 0) {
    inner_.exchange(stream, std::move(sends), std::move(receives));
    return;
  }
  // Written by the first call and read by the second, which the stream runs after it.
  const auto window = std::make_shared<Window>();
  stream.call([this, window, out, in] {
    *window = reserve(out, in);
    std::this_thread::sleep_until(window->sent);
  });
  inner_.exchange(stream, std::move(sends), std::move(receives));
  stream.call([window] { std::this_thread::sleep_until(window->received); });
}

void ThrottledCommunicator::transfer(std::vector<Send> sends, std::vector<Receive> receives,
                                     Patience patience) {
  const Window window = reserve(over_the_link(sends), over_the_link(receives));
  std::this_thread::sleep_until(window.sent);
  inner_.transfer(std::move(sends), std::move(receives), patience);
  std::this_thread::sleep_until(window.received);
}

template <typename Messages>
std::size_t ThrottledCommunicator::over_the_link(const Messages& messages) const {
  std::size_t bytes = 0;
  for (const auto& message : messages) {
    if (message.peer != rank()) bytes += message.bytes.size();
  }
  return bytes;
}

ThrottledCommunicator::Window ThrottledCommunicator::reserve(std::size_t out, std::size_t in) {
  const std::lock_guard lock(mutex_);
  return {take_turn(out_free_, out), take_turn(in_free_, in)};
}

ThrottledCommunicator::Clock::time_point ThrottledCommunicator::take_turn(Clock::time_point& free,
                                                                          std::size_t bytes) const {
  const auto now = Clock::now();
  if (bytes == 0) return now;
  free = std::max(free, now) + throttle_.occupancy(bytes);
  return free + throttle_.latency;
}

}  // namespace longspan
