// How long a poller may sleep: nothing at first, then in proportion to how long it has waited.
//
// A rank that serves others waits for about a layer's time between two messages. Sleeping through
// that costs tens of microseconds a layer, which is what waking up takes; so the first
// milliseconds are spent in yielding and looking. After them a sixteenth of the time already
// waited is lost at most, and the number of looks grows only with the logarithm of the wait.
#pragma once

#include <algorithm>
#include <chrono>

namespace longspan {

/// Zero: yield and look again.
inline std::chrono::nanoseconds nap_after(std::chrono::nanoseconds waited,
                                          std::chrono::nanoseconds longest) {
  constexpr std::chrono::milliseconds kYielding{2};
  return waited < kYielding ? std::chrono::nanoseconds::zero() : std::min(waited / 16, longest);
}

}  // namespace longspan
