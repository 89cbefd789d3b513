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
// For a median that a few disturbed batches do not move.
constexpr double kSoundBatches = 15;
constexpr double kPatience = 20;  // as many times the time of a figure

/// Until a slow rank comes; it may be computing for minutes.
constexpr Patience kPrompt{std::chrono::minutes(10), std::chrono::microseconds(50)};

}  // namespace

RankClock::Runs RankClock::runs_on(Stream& stream, std::function<void()> enqueue) {
  return [&stream, enqueue = std::move(enqueue)](int n) {
    for (int i = 0; i < n; ++i) enqueue();
    stream.synchronize();
  };
}

/// Seconds of one of `count` runs on this rank.
double RankClock::batch(const Runs& runs, int count) {
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

int RankClock::batches(double seconds_of_a_turn, std::size_t rivals) const {
  const double fit = per_figure_.count() * static_cast<double>(rivals) / seconds_of_a_turn;
  const double least = kPatience * fit >= kSoundBatches ? kSoundBatches : 3.0;
  return static_cast<int>(std::clamp(fit, least, kMostBatches));
}

std::vector<Timing> RankClock::time_in_turn(const std::vector<Runs>& rivals) {
  std::vector<int> counts;
  double turn = 0;
  for (const Runs& runs : rivals) {
    batch(runs, 1);  // caches, page faults, workspaces
    const double expected = std::max(slowest({batch(runs, 1)}).front(), 1e-9);
    counts.push_back(
        static_cast<int>(std::clamp(std::ceil(kShortestBatch / expected), 1.0, kMostRuns)));
    turn += expected * counts.back();
  }
  std::vector<std::vector<double>> seconds(rivals.size());
  for (int left = batches(turn, rivals.size()); left > 0; --left) {
    for (std::size_t i = 0; i < rivals.size(); ++i) {
      seconds[i].push_back(batch(rivals[i], counts[i]));
    }
  }
  std::vector<Timing> timings;
  for (const std::vector<double>& mine : seconds) timings.push_back(timing_of(slowest(mine)));
  return timings;
}

Timing RankClock::time(const Runs& runs) { return time_in_turn({runs}).front(); }

}  // namespace longspan
