// A short, polite wait before a thread blocks.
//
// Handing work to a blocked thread costs a wake-up (tens of microseconds on a virtual machine); the
// answer often comes sooner than that. So a waiter first yields for a moment. It yields rather than
// pauses because ranks may outnumber cores: then the thread it waits for needs this very core.
#pragma once

#include <sched.h>

#include <chrono>

namespace longspan {

constexpr std::chrono::microseconds kBriefly{10};

/// True as soon as `ready()` is; false if it was not for some ten microseconds.
template <typename Ready>
bool spin_briefly(Ready ready) {
  if (ready()) return true;
  const auto until = std::chrono::steady_clock::now() + kBriefly;
  do {
    sched_yield();
    if (ready()) return true;
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

}  // namespace longspan
