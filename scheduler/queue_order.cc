#include "scheduler/queue_order.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace longspan {

Nanoseconds allowed_time(Nanoseconds arrival, Nanoseconds solo,
                         std::optional<Nanoseconds> deadline) {
  constexpr Nanoseconds kLeast = 500'000'000;
  constexpr Nanoseconds kTimesAlone = 5;
  Nanoseconds allowed = std::max(kLeast, kTimesAlone * solo);
  if (deadline) allowed = std::min(allowed, *deadline - arrival);
  return std::max<Nanoseconds>(allowed, 1);
}

std::int64_t slack(const QueuedRequest& request, Nanoseconds now) {
  const Nanoseconds left = request.arrival + request.allowed - now - request.solo;
  const Nanoseconds within = std::clamp(left, -request.allowed, request.allowed);
  // An hour in nanoseconds times 1,024 is 3.7e15: far from the end of 64 bits.
  return within * kSlackSteps / request.allowed;
}

std::vector<RequestId> queue_order(std::vector<QueuedRequest> queue, Nanoseconds now,
                                   int max_overtaken, const ClassRounds& rounds) {
  const auto key = [&](const QueuedRequest& request) {
    const bool waits = request.overtaken < max_overtaken;
    return std::tuple(waits ? slack(request, now) : 0, request.arrival, request.id);
  };
  std::ranges::sort(queue, {}, key);
  std::vector<RequestId> order;
  std::array<std::vector<TenantRequest>, std::tuple_size_v<ClassRounds>> classes;
  for (QueuedRequest& request : queue) {
    if (request.overtaken >= max_overtaken) {
      order.push_back(request.id);
    } else {
      classes[static_cast<std::size_t>(request.urgency)].push_back(
          {request.id, std::move(request.tenant), request.cost});
    }
  }
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const std::vector<RequestId> in_turn = rounds[i].order(classes[i]);
    order.insert(order.end(), in_turn.begin(), in_turn.end());
  }
  return order;
}

}  // namespace longspan
