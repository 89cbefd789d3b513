// A policy: which instances form groups, how the steps of a group are filled, and which group a
// request goes to when it arrives.
//
//   static_sp         groups of so many instances that stay as they are    least work
//   replicas          the same, one instance each                          least work
//   chunked_prefill   one group of all, steps within a budget of tokens
//
// Pure, as all of this folder: the same questions get the same answers. What is said of a group's
// requests is said by its planner (scheduler/group_schedule.h); a policy knows numbers.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "scheduler/planner_options.h"

namespace longspan {

/// A group that could take a request, by predicted work (work_price.h).
struct GroupLoad {
  int group = 0;
  std::int64_t outstanding = 0;  // of requests that went there and have not ended
  std::int64_t added = 0;        // by the request, less what it would find computed there
};

class Policy {
 public:
  virtual ~Policy() = default;

  /// The groups that `instances` instances form, one at least, each an ordered list. An instance is
  /// in one of them, or idles.
  virtual std::vector<std::vector<int>> groups(int instances) const = 0;
  virtual Filling filling() const { return Filling::kShortestFirst; }
  /// One of `loads`, one at least, by rising group, to which the request that arrives goes. Here
  /// the one that should be done with all it has soonest, of equals the first: what is computed of
  /// the request there counts as far as it saves work.
  virtual int group_for(std::span<const GroupLoad> loads) const;
};

enum class PolicyKind { kStaticSp, kReplicas, kChunkedPrefill };

inline constexpr std::array kPolicies{PolicyKind::kStaticSp, PolicyKind::kReplicas,
                                      PolicyKind::kChunkedPrefill};

/// "static_sp"
std::string_view name(PolicyKind policy);

/// `degree`: instances of a group of static_sp, 1 at least.
std::unique_ptr<Policy> make_policy(PolicyKind policy, int degree);

}  // namespace longspan
