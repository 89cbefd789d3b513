// One group of all instances whose steps keep within a budget of tokens: the rows that decode come
// first, then the prompt that is being read, then the next ones in order (Sarathi, arXiv
// 2403.02310).
#pragma once

#include "scheduler/policies/policy.h"

namespace longspan {

class ChunkedPrefill final : public Policy {
 public:
  std::vector<std::vector<int>> groups(int instances) const override;
  Filling filling() const override { return Filling::kFirstCome; }
};

}  // namespace longspan
