// Which waiting request comes next: the one with least slack, so that a long prompt neither starves
// behind short ones nor makes a convoy of them (the idea of LARS: Medha, arXiv 2409.17264; the
// formula is ours).
//
//   allowed = max(0.5 s, 5 x what it takes alone), but not beyond its deadline
//   slack   = (arrival + allowed - now - what it takes alone) / allowed, within [-1, 1]
//
// All late requests have slack -1 in the end, and are taken in order of arrival. What nobody waits
// for (a batch) comes behind what somebody does; in each of the two, tenants take turns
// (tenant_rounds.h), and slack orders the requests of one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/cost_model.h"
#include "scheduler/step_plan.h"
#include "scheduler/tenant_rounds.h"

namespace longspan {

/// Steps of slack: from -kSlackSteps to kSlackSteps.
inline constexpr std::int64_t kSlackSteps = 1024;

/// Whether somebody waits for the answer.
enum class Urgency { kInteractive, kBatch };

struct QueuedRequest {
  RequestId id = 0;
  Urgency urgency = Urgency::kInteractive;
  Nanoseconds arrival = 0;
  Nanoseconds allowed = 1;  // from its arrival to its first token, above 0
  Nanoseconds solo = 0;     // what is left of its prompt would take alone
  int overtaken = 0;        // times that a later arrival was taken first
  std::string tenant;
  std::int64_t cost = 0;  // that its tenant pays, in tokens
};

/// By Urgency: a tenant's share of one class is not spent on the other.
using ClassRounds = std::array<TenantRounds, 2>;

/// The time to allow a request that takes `solo` alone when it arrives.
Nanoseconds allowed_time(Nanoseconds arrival, Nanoseconds solo,
                         std::optional<Nanoseconds> deadline = std::nullopt);

std::int64_t slack(const QueuedRequest& request, Nanoseconds now);

/// The order to take them in: interactive ones first, then tenants in turn, of each by slack, by
/// arrival and by id. Those that were overtaken `max_overtaken` times come before all others, by
/// arrival: so every request is taken at last.
std::vector<RequestId> queue_order(std::vector<QueuedRequest> queue, Nanoseconds now,
                                   int max_overtaken, const ClassRounds& rounds = {});

}  // namespace longspan
