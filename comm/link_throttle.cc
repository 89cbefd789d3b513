#include "comm/link_throttle.h"

#include <charconv>
#include <cmath>
#include <span>
#include <utility>

namespace longspan {
namespace {

using Unit = std::pair<std::string_view, double>;

constexpr Unit kRates[] = {{"", 1}, {"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}};
constexpr Unit kTimes[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};  // nanoseconds

/// A number and one of `units`, multiplied.
std::optional<double> quantity(std::string_view text, std::span<const Unit> units) {
  double number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number)) return std::nullopt;
  const std::string_view unit = text.substr(rest - text.data());
  for (const auto& [word, factor] : units) {
    if (word == unit) return number * factor;
  }
  return std::nullopt;
}

}  // namespace

std::chrono::nanoseconds LinkThrottle::occupancy(std::size_t bytes) const {
  return std::chrono::nanoseconds(
      std::llround(static_cast<double>(bytes) / bytes_per_second * 1e9));
}

std::optional<LinkThrottle> parse_link_throttle(std::string_view text) {
  const std::size_t comma = text.find(',');
  const auto rate = quantity(text.substr(0, comma), kRates);
  if (!rate || *rate < 1) return std::nullopt;
  LinkThrottle throttle{.bytes_per_second = *rate};
  if (comma == std::string_view::npos) return throttle;
  const auto latency = quantity(text.substr(comma + 1), kTimes);
  if (!latency || *latency < 0 || *latency > 60e9) return std::nullopt;
  throttle.latency = std::chrono::nanoseconds(std::llround(*latency));
  return throttle;
}

}  // namespace longspan
