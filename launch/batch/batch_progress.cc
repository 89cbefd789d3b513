#include "launch/batch/batch_progress.h"

#include <algorithm>
#include <iostream>

#include "comm/str.h"

namespace longspan {
namespace {

constexpr auto kTellEvery = std::chrono::seconds(5);
constexpr auto kRateOver = std::chrono::seconds(10);
constexpr auto kSampleEvery = std::chrono::milliseconds(500);

double seconds(BatchProgress::Clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

void BatchProgress::remember(const BatchCounts& counts, Clock::time_point now) {
  if (!samples_.empty() && now - samples_.back().at < kSampleEvery) return;
  samples_.push_back({now, counts.read, counts.written});
  while (now - samples_.front().at > kRateOver) samples_.pop_front();
}

void BatchProgress::update(const BatchCounts& counts, Clock::time_point now) {
  if (line_.terminal()) {
    if (line_.due()) line_.draw(text(counts, now));
  } else if (now - told_ >= kTellEvery) {
    std::cerr << str("longspan: {}\n", text(counts, now)) << std::flush;
    told_ = now;
  }
  remember(counts, now);
}

std::string BatchProgress::text(const BatchCounts& counts, Clock::time_point now) const {
  std::string line;
  if (line_.terminal() && counts.requests > 0) {
    line = bar(static_cast<double>(counts.done) / static_cast<double>(counts.requests)) + " ";
  }
  line += str("{} of {}", with_thousands(counts.done),
              count_text(static_cast<std::size_t>(counts.requests), "request"));
  if (counts.failed > 0) line += str(" ({} failed)", with_thousands(counts.failed));
  const Sample since = samples_.empty() ? Sample{start_} : samples_.front();
  const double taken = seconds(now - since.at);
  if (taken > 0) {
    line += str(", {:.0f} tokens/s in, {:.0f} out",
                static_cast<double>(counts.read - since.read) / taken,
                static_cast<double>(counts.written - since.written) / taken);
  }
  line += str(", KV {:.0f} %", 100 * counts.kv_share);
  const double worked = static_cast<double>(counts.done - counts.earlier) + counts.under_way;
  if (worked > 0) {
    const double to_do = static_cast<double>(counts.requests - counts.done) - counts.under_way;
    line += str(", {} left", duration_text(seconds(now - start_) / worked * std::max(0.0, to_do)));
  }
  return line;
}

}  // namespace longspan
