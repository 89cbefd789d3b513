// Shares of tenants that wait at once: rounds in which each is given as many tokens, and takes its
// own requests, in their order, as far as those reach (deficit round robin: Shreedhar and
// Varghese, SIGCOMM 1995). Who floods the queue waits behind itself.
//
//   round    a: +1024   takes 3 of its 200      b: +1024   takes its only one      a: +1024 ...
//
// A tenant that comes anew is last in the round. What one has not spent stays its own as long as it
// has requests that wait, and is nobody's afterwards: no share is saved up.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "scheduler/step_plan.h"

namespace longspan {

/// What a tenant's next request takes of its share.
struct TenantRequest {
  RequestId id = 0;
  std::string tenant;
  std::int64_t cost = 0;  // tokens; 0: it has paid
};

class TenantRounds {
 public:
  /// What each is given a round, in tokens. A request that costs more takes several.
  static constexpr std::int64_t kShare = 1024;

  /// All of them, those of each tenant in the order in which they are given, tenants in turn: what
  /// would be taken if nothing else came.
  std::vector<RequestId> order(const std::vector<TenantRequest>& requests) const;
  /// The request has begun: its tenant pays, as soon as the rounds have given it enough.
  void charge(const std::string& tenant, std::int64_t cost);
  /// Tenants have come, in this order, or are there already.
  void enter(const std::vector<TenantRequest>& requests);
  /// Of tenants without a request that waits nothing is kept.
  void keep(const std::set<std::string>& waiting);

 private:
  struct Account {
    std::string tenant;
    std::int64_t left = 0;
  };

  /// The requests of an account's tenant that are not taken yet, by account.
  using Lines = std::vector<std::deque<const TenantRequest*>>;

  Lines lines_of(const std::vector<TenantRequest>& requests) const;
  void next_turn();
  void add_rounds(std::int64_t count);
  void leave(std::size_t account);

  std::vector<Account> round_;
  std::size_t turn_ = 0;  // whose it is; what it is given was added when its turn began
};

}  // namespace longspan
