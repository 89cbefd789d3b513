#include "comm/trace.h"

namespace longspan {

void TraceLane::add(const TraceLabel& label, Time begin, Time end, std::string more) {
  const std::size_t at = added_.load(std::memory_order_relaxed);
  if (at - drained_.load(std::memory_order_acquire) == ring_.size()) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  ring_[at % ring_.size()] = {label, begin, end, std::move(more)};
  added_.store(at + 1, std::memory_order_release);
}

void TraceLane::close() {
  const auto [label, begin] = open_.back();
  open_.pop_back();
  add(label, begin, now());
}

}  // namespace longspan
