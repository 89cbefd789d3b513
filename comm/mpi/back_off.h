// How long a poller may sleep: in proportion to how long it has waited already.
//
// A sixteenth of the time already waited is lost at most, so waiting stays cheap in time; and the
// number of looks grows only with the logarithm of the wait, so it is cheap in CPU. Below a few
// microseconds sleeping costs more than looking: zero then, which means "yield and look again".
#pragma once

#include <algorithm>
#include <chrono>

namespace longspan {

inline std::chrono::nanoseconds nap_after(std::chrono::nanoseconds waited,
                                          std::chrono::nanoseconds longest) {
  constexpr std::chrono::microseconds kWorthSleeping{4};
  const auto nap = std::min(waited / 16, longest);
  return nap < kWorthSleeping ? std::chrono::nanoseconds::zero() : nap;
}

}  // namespace longspan
