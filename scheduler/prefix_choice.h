// Where a request goes whose prompt begins as what some group has computed, and how it comes to
// the keys of that there.
//
//   join         to the group that has them: they are read where they lie
//   replicate    to another, whose ranks get copies; the pages stay what they are where they were
//   recompute    to another, which reads that part of the prompt once more
//
// In each group the cheaper of the ways that it has; among groups a policy chooses, by what is to
// be done there before and what the request then takes. Groups do not change while they run, so a
// group is never widened by a rank that has pages.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "scheduler/policies/policy.h"

namespace longspan {

enum class PrefixWay { kNone, kJoin, kReplicate, kRecompute };

/// A group that could take the request. Work is in one unit for all groups (work_price.h).
struct PrefixOffer {
  int group = 0;
  std::int64_t outstanding = 0;  // work, before the request
  std::int64_t has = 0;          // positions of the prompt that are computed there, or will be
  std::int64_t own = 0;          // the request's work behind those
  /// Positions behind which it would begin with copies of what another group has, what copying
  /// takes, and the request's work behind them. None: nobody has more, or may copy.
  struct Copies {
    std::int64_t has = 0;
    std::int64_t copying = 0;
    std::int64_t own = 0;
  };
  std::optional<Copies> copies;

  bool copies_pay() const { return copies && copies->copying + copies->own < own; }
};

struct PrefixChoice {
  int group = 0;
  PrefixWay way = PrefixWay::kNone;
};

/// `offers`: one at least, by rising group. kNone where no group has anything of the prompt.
PrefixChoice choose_prefix(std::span<const PrefixOffer> offers, const Policy& policy);

}  // namespace longspan
