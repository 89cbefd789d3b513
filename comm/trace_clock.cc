#include "comm/trace_clock.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <span>

#include "comm/collective.h"

namespace longspan {
namespace {

constexpr int kRoundTrips = 16;

bool shares_clock(const std::vector<int>& host_ranks, int rank) {
  return std::ranges::find(host_ranks, rank) != host_ranks.end();
}

std::uint64_t agreed_run(Communicator& control) {
  std::random_device random;
  std::uint64_t run = (std::uint64_t{random()} << 32) | random();
  std::vector<std::byte> bytes(sizeof(run));
  std::memcpy(bytes.data(), &run, sizeof(run));
  broadcast(control, bytes, 0);
  std::memcpy(&run, bytes.data(), sizeof(run));
  return run;
}

void tell_time(Communicator& control, int peer, const ReadClock& now) {
  for (int i = 0; i < kRoundTrips; ++i) {
    std::int64_t time = 0;
    const auto bytes = std::as_writable_bytes(std::span(&time, 1));
    control.transfer({}, {{peer, bytes}}, kStartPatience);
    time = now().count();
    control.transfer({{peer, bytes}}, {}, kStartPatience);
  }
}

void ask_time(Communicator& control, TraceClock& clock, const ReadClock& now) {
  for (int i = 0; i < kRoundTrips; ++i) {
    const std::int64_t question = 0;
    std::int64_t time = 0;
    const auto begin = now();
    control.transfer({{0, std::as_bytes(std::span(&question, 1))}},
                     {{0, std::as_writable_bytes(std::span(&time, 1))}}, kStartPatience);
    const auto end = now();
    if (i > 0 && end - begin >= clock.round_trip) continue;
    clock.round_trip = end - begin;
    clock.offset = std::chrono::nanoseconds(time) - (begin + (end - begin) / 2);
  }
}

}  // namespace

std::chrono::nanoseconds steady_time() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

TraceClock agree_on_clock(Communicator& control, const std::vector<int>& host_ranks,
                          const ReadClock& now) {
  TraceClock clock{.run = agreed_run(control)};
  if (control.rank() == 0) {
    for (int peer = 1; peer < control.size(); ++peer) {
      if (!shares_clock(host_ranks, peer)) tell_time(control, peer, now);
    }
  } else if (!shares_clock(host_ranks, 0)) {
    ask_time(control, clock, now);
  }
  return clock;
}

}  // namespace longspan
