#include "comm/trace_exchange.h"

#include <algorithm>
#include <utility>

#include "comm/exchange_lists.h"
#include "comm/str.h"

namespace longspan {
namespace {

template <typename Message>
std::string peers_of(const std::vector<Message>& messages) {
  constexpr std::size_t kListed = 16;  // so that a span's memory stays bounded
  std::string list;
  for (std::size_t i = 0; i < std::min(messages.size(), kListed); ++i) {
    list += str("{}{}", i == 0 ? "" : ",", messages[i].peer);
  }
  return str("[{}]", list);
}

}  // namespace

TraceLabel exchange_label(const std::vector<Send>& sends, const std::vector<Receive>& receives) {
  const Traffic moved = traffic_of(sends, receives);
  return {.name = "exchange",
          .category = TraceCategory::kExchange,
          .args = {{"sent_bytes", static_cast<std::int64_t>(moved.sent_bytes)},
                   {"received_bytes", static_cast<std::int64_t>(moved.received_bytes)}}};
}

std::string exchange_peers(const std::vector<Send>& sends, const std::vector<Receive>& receives) {
  return str(R"("to":{},"from":{})", peers_of(sends), peers_of(receives));
}

std::function<void(std::exception_ptr)> with_exchange_span(
    TraceLane& lane, const std::vector<Send>& sends, const std::vector<Receive>& receives,
    std::function<void(std::exception_ptr)> done) {
  return [&lane, label = exchange_label(sends, receives), peers = exchange_peers(sends, receives),
          begin = TraceLane::now(), done = std::move(done)](std::exception_ptr failure) {
    lane.add(label, begin, TraceLane::now(), peers);
    done(std::move(failure));
  };
}

}  // namespace longspan
