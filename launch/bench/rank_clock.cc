#include "launch/bench/rank_clock.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>

#include "comm/collective.h"
#include "comm/error.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

/// A hundred times what lies between the first and the last rank that comes out of the barrier.
constexpr double kShortestBatch = 5e-3;
constexpr double kMostRuns = 2000;
constexpr double kMostBatches = 2000;

/// Until a slow rank comes; it may be computing for minutes.
constexpr Patience kPrompt{std::chrono::minutes(10), std::chrono::microseconds(50)};

}  // namespace

/// Seconds of one of `count` runs on this rank.
double RankClock::batch(const std::function<void(int n)>& runs, int count) {
  barrier(machine_.control(), kPrompt);
  const auto start = Clock::now();
  runs(count);
  return std::chrono::duration<double>(Clock::now() - start).count() / count;
}

std::vector<double> RankClock::slowest(const std::vector<double>& mine) {
  std::vector<double> all = mine;
  for (const auto& bytes : gather(machine_.control(), std::as_bytes(std::span(mine)), 0, kPrompt)) {
    expects(bytes.size() == mine.size() * sizeof(double), "all ranks timed as many batches");
    for (std::size_t i = 0; i < all.size(); ++i) {
      double theirs = 0;
      std::memcpy(&theirs, bytes.data() + i * sizeof(double), sizeof(double));
      all[i] = std::max(all[i], theirs);
    }
  }
  const auto view = std::as_bytes(std::span(all));
  std::vector<std::byte> verdict(view.begin(), view.end());
  broadcast(machine_.control(), verdict, 0, kPrompt);
  std::memcpy(all.data(), verdict.data(), verdict.size());
  return all;
}

Timing RankClock::time(const std::function<void(int n)>& runs) {
  batch(runs, 1);  // caches, page faults, workspaces
  const double expected = std::max(slowest({batch(runs, 1)}).front(), 1e-9);
  const int count =
      static_cast<int>(std::clamp(std::ceil(kShortestBatch / expected), 1.0, kMostRuns));
  const double batches = std::clamp(per_figure_.count() / (expected * count), 3.0, kMostBatches);
  std::vector<double> seconds;
  for (int i = 0; i < static_cast<int>(batches); ++i) seconds.push_back(batch(runs, count));
  return timing_of(slowest(seconds));
}

Timing RankClock::time(Stream& stream, const std::function<void()>& enqueue) {
  return time([&](int n) {
    for (int i = 0; i < n; ++i) enqueue();
    stream.synchronize();
  });
}

}  // namespace longspan
