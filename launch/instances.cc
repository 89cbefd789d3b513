#include "launch/instances.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "attention/divisors.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/model_part.h"

namespace longspan {

int count_instances(int tp, int ranks) {
  if (ranks % tp == 0) return ranks / tp;
  throw UsageError(
      str("--tp {} makes instances of {} ranks, but the job has {}; start it with mpirun -np {}, "
          "or use --tp with one of: {}",
          tp, tp, ranks, (ranks / tp + 1) * tp, fmt::join(divisors(ranks), " ")));
}

void expect_usable_tp(int tp, const ModelConfig& model) {
  const std::vector<int> usable = usable_part_counts(model);
  if (std::ranges::find(usable, tp) != usable.end()) return;
  throw UsageError(
      str("--tp {} must divide the {} query heads, and divide the {} key/value heads or be a "
          "multiple of them; usable: {}",
          tp, model.heads.query_heads, model.heads.kv_heads, fmt::join(usable, " ")));
}

}  // namespace longspan
