// Waiting on a host for what another process or a GPU does, where nothing would wake a sleeper.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace longspan {

/// Called again and again while waiting; throws to end it.
using GoOn = std::function<void()>;

template <typename Condition>
void wait_until(const Condition& met, const GoOn& go_on) {
  // Others are usually microseconds away; who waits longer lets them have the core.
  constexpr auto kSoon = std::chrono::microseconds(200);
  constexpr auto kNap = std::chrono::microseconds(50);
  const auto begun = std::chrono::steady_clock::now();
  while (!met()) {
    go_on();
    if (std::chrono::steady_clock::now() - begun < kSoon) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kNap);
    }
  }
}

}  // namespace longspan
