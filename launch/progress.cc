#include "launch/progress.h"

#include <cmath>
#include <iostream>

#include "comm/host_memory.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(seconds));
  if (whole < 60) return str("{} s", whole);
  return str("{} min {} s", whole / 60, whole % 60);
}

std::string bar(double share) {
  constexpr int kWidth = 24;
  const int full = static_cast<int>(share * kWidth);
  return str("[{}{}]", std::string(full, '='), std::string(kWidth - full, ' '));
}

std::string with_thousands(std::int64_t number) {
  const std::string digits = std::to_string(number);
  std::string grouped;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) grouped += ',';
    grouped += digits[i];
  }
  return grouped;
}

std::string count_text(std::size_t count, std::string_view what) {
  return str("{} {}{}", with_thousands(static_cast<std::int64_t>(count)), what,
             count == 1 ? "" : "s");
}

bool StatusLine::due() const {
  return terminal_ && std::chrono::steady_clock::now() - drawn_ >= kRedraw;
}

void StatusLine::draw(const std::string& text) {
  std::cerr << "\r\x1b[K" << text << std::flush;
  shown_ = true;
  drawn_ = std::chrono::steady_clock::now();
}

void StatusLine::clear() {
  if (shown_) std::cerr << "\r\x1b[K" << std::flush;
  shown_ = false;
}

void LoadingBar::bytes(std::uint64_t done, std::uint64_t total) {
  if (done == total) return line_.clear();
  if (!line_.due()) return;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  line_.draw(str("{} {} {} of {} ({:.0f} %)", doing_, bar(share),
                 human_bytes(static_cast<std::int64_t>(done)),
                 human_bytes(static_cast<std::int64_t>(total)), 100 * share));
}

PrefillProgress::PrefillProgress(int layers, bool terminal) : layers_(layers), line_(terminal) {}

void PrefillProgress::chunk(std::int64_t done, std::int64_t chunk, std::int64_t total) {
  const std::lock_guard lock(mutex_);
  if (done == 0) start_ = Clock::now();
  const bool more = done > done_;
  done_ = done;
  chunk_ = chunk;
  total_ = total;
  if (line_.terminal() ? done < total : more) draw(static_cast<double>(done));
}

void PrefillProgress::layer(int layer) {
  const std::lock_guard lock(mutex_);
  if (!line_.terminal()) return;
  // Before the first text, not with it: mpirun may pass the two streams on in either order, and an
  // erasure that comes late would take the text along.
  if (layer + 1 == layers_ && done_ + chunk_ == total_) return line_.clear();
  if (!line_.due()) return;
  draw(static_cast<double>(done_) + static_cast<double>(chunk_) * (layer + 1) / layers_);
}

void PrefillProgress::draw(double tokens) {
  const double elapsed = seconds_since(start_);
  const double rate = elapsed > 0 ? tokens / elapsed : 0;
  const double share = tokens / static_cast<double>(total_);
  std::string line = str("{} of {} tokens ({:.0f} %)", with_thousands(std::llround(tokens)),
                         with_thousands(total_), 100 * share);
  if (tokens > 0) {
    line += str(", {:.0f} tokens/s, {} left", rate,
                duration_text((static_cast<double>(total_) - tokens) / rate));
  }
  if (line_.terminal()) {
    line_.draw(str("reading {} {}", bar(share), line));
  } else {
    std::cerr << str("longspan: read {}\n", line) << std::flush;
  }
}

void PrefillProgress::finish() {
  const std::lock_guard lock(mutex_);
  line_.clear();
}

}  // namespace longspan
