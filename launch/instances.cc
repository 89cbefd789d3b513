#include "launch/instances.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/model_part.h"

namespace longspan {

void expect_usable_tp(int tp, const ModelConfig& model) {
  const std::vector<int> usable = usable_part_counts(model);
  if (std::ranges::find(usable, tp) != usable.end()) return;
  throw UsageError(
      str("--tp {} must divide the {} query heads, and divide the {} key/value heads or be a "
          "multiple of them; usable: {}",
          tp, model.heads.query_heads, model.heads.kv_heads, fmt::join(usable, " ")));
}

int count_instances(int tp, int ranks, const ModelConfig& model) {
  if (ranks % tp == 0) return ranks / tp;
  std::vector<int> usable = usable_part_counts(model);
  std::erase_if(usable, [&](int count) { return ranks % count != 0; });
  throw UsageError(
      str("--tp {} makes instances of {} ranks, but the job has {}; start it with mpirun -np {}, "
          "or use --tp with one of: {}",
          tp, tp, ranks, (ranks / tp + 1) * tp, fmt::join(usable, " ")));
}

void expect_whole_choices(int tp, const ModelConfig& model, const Approximation& attention) {
  const int kv_heads = model.heads.kv_heads;
  if (!attention.needs_choice() || tp <= kv_heads) return;
  std::vector<int> usable = usable_part_counts(model);
  std::erase_if(usable, [&](int count) { return count > kv_heads; });
  throw UsageError(
      str("--attention {} chooses keys by all query heads of a key/value head, but --tp {} parts "
          "those of the model's {}; use --tp with one of: {}, or --attention exact, sinks or star",
          name(attention.kind), tp, kv_heads, fmt::join(usable, " ")));
}

}  // namespace longspan
