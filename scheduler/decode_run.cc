#include "scheduler/decode_run.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace longspan {
namespace {

/// False where it ends.
bool step_on(DecodeStep& row, RowOfRun& run, std::int32_t token) {
  if (--run.left == 0 || std::ranges::count(run.stops, token) > 0) return false;
  row.token = token;
  if (++row.position == run.page_end) row.master = run.next_master;
  return true;
}

/// All that a plan says once.
StepPlan behind(const StepPlan& plan) {
  StepPlan next;
  next.epoch = plan.epoch + 1;
  next.group = plan.group;
  return next;
}

}  // namespace

bool step_on(StepPlan& plan, DecodeRun& run, std::span<const SampledToken> sampled) {
  std::map<RequestId, std::int32_t> tokens;
  for (const SampledToken& one : sampled) tokens[one.request] = one.token;
  StepPlan next = behind(plan);
  std::vector<RowOfRun> rows;
  for (std::size_t i = 0; i < plan.decode.size(); ++i) {
    DecodeStep row = plan.decode[i];
    const auto token = tokens.find(row.request);
    if (token == tokens.end()) {
      throw std::logic_error("nobody sampled for request " + std::to_string(row.request));
    }
    if (!step_on(row, run.rows.at(i), token->second)) continue;
    next.decode.push_back(row);
    rows.push_back(std::move(run.rows[i]));
  }
  const bool one_ended = rows.size() < plan.decode.size();
  --run.steps;
  run.rows = std::move(rows);
  plan = std::move(next);
  return run.steps > 0 && !plan.decode.empty() && !(run.until_one_ends && one_ended);
}

}  // namespace longspan
