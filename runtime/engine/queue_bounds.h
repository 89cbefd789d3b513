// How much may wait in an engine: beyond that a request is refused at once, and whoever asked can
// go elsewhere, or come again, instead of waiting for what it will not get in time.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

namespace longspan {

struct QueueBounds {
  std::int64_t requests = 256;
  /// Tokens that are to be read of those that wait. Absent: eight times what memory holds.
  std::optional<std::int64_t> tokens;

  /// For requests that are all known before the first one starts.
  static QueueBounds none() {
    constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
    return {.requests = kAny, .tokens = kAny};
  }
};

/// Why a request was not queued.
struct Refusal {
  enum class Reason {
    kNeverFits,     // not even alone
    kManyRequests,  // as many wait as may
    kManyTokens,    // with its prompt more tokens would wait than may
  };
  Reason reason = Reason::kNeverFits;
  std::string message;  // with the numbers, and what to do
  // The queue as it was:
  std::int64_t waiting = 0;         // requests
  std::int64_t waiting_tokens = 0;  // to be read of them
};

/// The bound that a request of `prompt_tokens` would break, given the queue. One request may always
/// wait, or what is longer than the bound could never run.
std::optional<Refusal> refusal_by(const QueueBounds& bounds, std::int64_t memory_tokens,
                                  std::int64_t waiting, std::int64_t waiting_tokens,
                                  std::int64_t prompt_tokens);

}  // namespace longspan
