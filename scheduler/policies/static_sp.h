// Static sequence parallelism: groups of one size, neighbours together, from start to end.
#pragma once

#include "scheduler/policies/policy.h"

namespace longspan {

class StaticSp : public Policy {
 public:
  /// `degree`: instances of a group, 1 at least.
  explicit StaticSp(int degree) : degree_(degree) {}

  /// As many as there are whole ones; the last instances idle. Throws std::logic_error where there
  /// is none.
  std::vector<std::vector<int>> groups(int instances) const override;

 private:
  int degree_;
};

}  // namespace longspan
