#include "scheduler/step_planner.h"

#include <algorithm>
#include <set>
#include <utility>

namespace longspan {
namespace {

/// Tokens per block of the block-cyclic layout: a page, or less when the chunk is so short that
/// whole pages would leave ranks idle (four blocks per rank, 16 tokens at least).
std::int64_t compute_block(std::int64_t tokens, std::int64_t ranks, std::int64_t page_tokens) {
  std::int64_t block = page_tokens;
  while (block > 16 && tokens < 4 * ranks * block) block /= 2;
  return block;
}

}  // namespace

StepPlanner::StepPlanner(PlannerOptions options)
    : options_(std::move(options)), free_(options_.capacity) {}

bool StepPlanner::submit(const RequestShape& request) {
  if (!place(request, options_.capacity)) return false;
  waiting_.push_back(request);
  return true;
}

/// Pages lie with the ranks that compute them where layout and retention allow.
std::optional<std::vector<int>> StepPlanner::place(const RequestShape& request,
                                                   const std::vector<std::int64_t>& free) const {
  const bool folded = options_.layout == DealtBy::kFolded;
  return place_pages(options_.keep, options_.group, worst_pages(request, options_.page_tokens),
                     free, folded ? SpreadOrder::kFolded : SpreadOrder::kCyclic);
}

std::optional<StepPlan> StepPlanner::next() {
  auto prefilling = std::ranges::find_if(running_, &Running::prefilling);
  if (prefilling == running_.end() && try_start()) prefilling = std::prev(running_.end());
  if (running_.empty()) return std::nullopt;

  StepPlan plan;
  if (prefilling == running_.end()) {
    plan = decode_step();
  } else {
    plan.group = options_.group;
    plan.prefill.push_back(next_chunk(*prefilling));
  }
  plan.epoch = ++epoch_;
  plan.finished = std::exchange(left_, {});
  return plan;
}

bool StepPlanner::try_start() {
  if (waiting_.empty() || std::ssize(running_) >= options_.max_running) return false;
  const RequestShape& shape = waiting_.front();
  auto owners = place(shape, free_);
  if (!owners) return false;
  for (int owner : *owners) --free_[owner];
  running_.push_back({.shape = shape, .owners = std::move(*owners)});
  waiting_.pop_front();
  return true;
}

PrefillChunk StepPlanner::next_chunk(Running& request) const {
  const std::int64_t left = request.shape.prompt_tokens - request.computed;
  const std::int64_t count = std::min(left, options_.chunk_tokens);
  PrefillChunk chunk{.request = request.shape.id, .first = request.computed, .count = count};
  chunk.layout = options_.layout;
  chunk.block = options_.whole_pages
                    ? options_.page_tokens
                    : compute_block(count, std::ssize(options_.group), options_.page_tokens);
  if (request.computed == 0) chunk.owners = request.owners;
  chunk.samples = count == left;
  chunk.wants_nll = request.shape.wants_nll;
  request.computed += count;
  return chunk;
}

StepPlan StepPlanner::decode_step() {
  StepPlan plan;
  std::set<int> members;
  for (Running& request : running_) {
    const std::int64_t position = request.computed++;
    const int master = request.owners[position / options_.page_tokens];
    plan.decode.push_back({request.shape.id, position, request.last_token, master});
    const std::int64_t pages = pages_for(position + 1, options_.page_tokens);
    members.insert(request.owners.begin(), request.owners.begin() + pages);
  }
  plan.group.assign(members.begin(), members.end());
  return plan;
}

void StepPlanner::completed(const std::vector<SampledToken>& sampled) {
  for (const SampledToken& one : sampled) {
    const auto request =
        std::ranges::find(running_, one.request, [](const Running& r) { return r.shape.id; });
    if (request == running_.end()) continue;  // aborted meanwhile
    request->last_token = one.token;
    ++request->sampled;
    const bool stopped = one.token == request->shape.stop_token;
    if (stopped || request->sampled == request->shape.max_new) leave(request);
  }
}

void StepPlanner::abort(RequestId id) {
  std::erase_if(waiting_, [&](const RequestShape& shape) { return shape.id == id; });
  const auto request = std::ranges::find(running_, id, [](const Running& r) { return r.shape.id; });
  if (request != running_.end()) leave(request);
}

void StepPlanner::leave(std::deque<Running>::iterator request) {
  for (int owner : request->owners) ++free_[owner];
  left_.push_back(request->shape.id);
  running_.erase(request);
}

}  // namespace longspan
