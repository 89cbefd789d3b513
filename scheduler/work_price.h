// What is left to do of a request, as one number: predicted nanoseconds of its group where costs
// are known, else tokens. Numbers of one price can be added and compared, of two not.
#pragma once

#include <cstdint>
#include <optional>

#include "scheduler/cost_model.h"

namespace longspan {

/// Of a request: positions of its prompt that are computed and that are not, and tokens that it may
/// still write.
struct WorkLeft {
  std::int64_t computed = 0;
  std::int64_t prompt = 0;
  std::int64_t answer = 0;
};

class WorkPrice {
 public:
  /// In tokens.
  WorkPrice() = default;
  /// In nanoseconds of a group of `degree` instances that reads `chunk_tokens`, 1 at least, in a
  /// step. A token of an answer costs what a step does that computes nothing else: too much where
  /// many are written together, but no group is better off than another for that.
  WorkPrice(const CostModel& costs, int degree, std::int64_t chunk_tokens);

  std::int64_t of(const WorkLeft& left) const;
  /// In nanoseconds, and not in tokens.
  bool is_time() const { return costs_.has_value(); }

 private:
  struct Costs {
    PrefillCost prefill;
    DecodeCost decode;
    int degree;
    std::int64_t chunk_tokens;
  };
  std::optional<Costs> costs_;
};

}  // namespace longspan
