#include "scheduler/decode_run.h"

#include <algorithm>
#include <span>
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

/// What a row of the plan has sampled; they are by request.
std::int32_t token_of(RequestId request, std::span<const SampledToken> sampled) {
  const auto one = std::ranges::lower_bound(sampled, request, {}, &SampledToken::request);
  if (one == sampled.end() || one->request != request) {
    throw std::logic_error("nobody sampled for request " + std::to_string(request));
  }
  return one->token;
}

/// Of a plan's first step: what it says once is done.
StepPlan behind(StepPlan& plan) {
  StepPlan next;
  next.epoch = plan.epoch + 1;
  next.group = std::move(plan.group);
  next.decode = std::move(plan.decode);
  return next;
}

}  // namespace

bool step_on(StepPlan& plan, DecodeRun& run, std::vector<SampledToken> sampled) {
  std::ranges::sort(sampled, {}, &SampledToken::request);
  plan = behind(plan);
  std::size_t kept = 0;
  const std::size_t rows = plan.decode.size();
  for (std::size_t i = 0; i < rows; ++i) {
    DecodeStep& row = plan.decode[i];
    if (!step_on(row, run.rows.at(i), token_of(row.request, sampled))) continue;
    if (kept < i) {
      plan.decode[kept] = row;
      run.rows[kept] = std::move(run.rows[i]);
    }
    ++kept;
  }
  plan.decode.resize(kept);
  run.rows.resize(kept);
  --run.steps;
  return run.steps > 0 && kept > 0 && !(run.until_one_ends && kept < rows);
}

}  // namespace longspan
