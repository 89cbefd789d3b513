// A slower link than the machine has, to see on one host what a network does.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>

namespace longspan {

/// A message of b bytes takes `latency` + b / bytes_per_second at least, in each direction.
struct LinkThrottle {
  double bytes_per_second = 0;  // above 0
  std::chrono::nanoseconds latency{0};

  /// How long a link is taken by so many bytes, latency apart.
  std::chrono::nanoseconds occupancy(std::size_t bytes) const;
};

/// "25M", "1.25G,200us": bytes per second with k or K, M or G for thousands, millions, milliards;
/// and the latency in us, ms or s. Nothing for another text.
std::optional<LinkThrottle> parse_link_throttle(std::string_view text);

}  // namespace longspan
