#include "tests/support/delaying_communicator.h"

#include <thread>

#include "comm/cpu/cpu_device.h"

namespace longspan::test {

DelayingCommunicator::DelayingCommunicator(Communicator& inner, std::uint64_t seed,
                                           std::chrono::microseconds longest)
    : inner_(inner),
      longest_(longest),
      random_(seed * 1000 + static_cast<std::uint64_t>(inner.rank())) {}

void DelayingCommunicator::exchange(Stream& stream, std::vector<Send> sends,
                                    std::vector<Receive> receives) {
  const auto sleep = [](std::chrono::microseconds delay) {
    return [delay] { std::this_thread::sleep_for(delay); };
  };
  as_cpu(stream).enqueue(sleep(draw()));
  inner_.exchange(stream, std::move(sends), std::move(receives));
  as_cpu(stream).enqueue(sleep(draw()));
}

void DelayingCommunicator::transfer(std::vector<Send> sends, std::vector<Receive> receives,
                                    Patience patience) {
  std::this_thread::sleep_for(draw());
  inner_.transfer(std::move(sends), std::move(receives), patience);
  std::this_thread::sleep_for(draw());
}

// A third of the delays is nothing at all: races need both orders.
std::chrono::microseconds DelayingCommunicator::draw() {
  const std::lock_guard lock(mutex_);
  if (random_() % 3 == 0) return {};
  return std::chrono::microseconds(random_() % static_cast<std::uint64_t>(longest_.count() + 1));
}

}  // namespace longspan::test
