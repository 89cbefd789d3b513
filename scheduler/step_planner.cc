#include "scheduler/step_planner.h"

#include <algorithm>
#include <limits>
#include <ranges>
#include <stdexcept>
#include <string>
#include <utility>

#include "scheduler/step_size.h"

namespace longspan {
namespace {

/// Tokens per block of the block-cyclic layout: a page, or less when the chunk is so short that
/// whole pages would leave ranks idle (four blocks per rank, 16 tokens at least).
std::int64_t compute_block(std::int64_t tokens, std::int64_t ranks, std::int64_t page_tokens) {
  std::int64_t block = page_tokens;
  while (block > 16 && tokens < 4 * ranks * block) block /= 2;
  return block;
}

/// So that a prompt can always be read beside the rows of all others that run.
PlannerOptions with_rows_for_all(PlannerOptions options) {
  options.max_running =
      static_cast<int>(std::min<std::int64_t>(options.max_running, options.step_rows));
  return options;
}

ChunkRules rules_of(const PlannerOptions& options) {
  return kept_beside({.degree = static_cast<int>(options.group.size()),
                      .least_degree = options.least_degree,
                      .page_tokens = options.page_tokens,
                      .chunk_tokens = options.chunk_tokens,
                      .max_chunks = options.max_chunks,
                      .step_rows = options.step_rows,
                      .cuts_are_fixed = options.cuts_are_fixed,
                      .fills_budget = options.filling == Filling::kFirstCome,
                      .target = options.target},
                     options.max_running - 1);
}

}  // namespace

StepPlanner::StepPlanner(PlannerOptions options)
    : options_(with_rows_for_all(std::move(options))),
      rules_(rules_of(options_)),
      policy_(options_.step_policy ? options_.step_policy() : nullptr),
      ledger_({.capacity = options_.capacity,
               .page_tokens = options_.page_tokens,
               .headroom = options_.headroom,
               .tier = options_.tier}),
      unpromised_(options_.capacity),
      move_budget_(options_.move_bandwidth, options_.page_bytes),
      copy_time_(options_.copy_time) {}

bool StepPlanner::submit(const RequestShape& request) {
  if (!could_run(request)) return false;
  waiting_.push_back(request);
  return true;
}

std::optional<std::int64_t> StepPlanner::extend(const RequestShape& request, std::int64_t common) {
  const auto held = find_in(held_, request.id);
  if (held == held_.end()) throw std::logic_error("only a request that is held goes on");
  RequestShape shape = request;
  shape.room = held->shape.room;
  if (!shape.fits_its_room()) return std::nullopt;
  const std::int64_t keep = kept(*held, std::min(common, shape.prompt_tokens - 1));
  held->shape = std::move(shape);
  held->reads = held->shape.prompt_tokens;
  held->computed = keep;
  held->sampled = 0;
  running_.push_back(std::move(*held));
  held_.erase(held);
  return keep;
}

std::int64_t StepPlanner::kept(const Running& held, std::int64_t common) const {
  const std::int64_t keep = std::min(common, held.computed), page = options_.page_tokens;
  const bool cuts_full_page = keep / page != held.computed / page;
  return options_.rounds_full_pages && cuts_full_page ? keep / page * page : keep;
}

std::optional<StepPlan> StepPlanner::next(const CostModel* costs, Nanoseconds now,
                                          PageLender* others) {
  let_go_of_tails();  // who was to copy one may have left since the last step
  const bool short_of_pages = grow_promises();
  make_wanted_moves(now);
  commit_moves();  // first: who starts finds pages where they will be
  StepPlan plan;
  if (!short_of_pages || running_.empty()) start_next(plan, costs, now, others);
  if (running_.empty()) return std::nullopt;

  add_decode_rows(plan);  // first: a prompt that ends with this step has no token to compute yet
  for (const NextChunk& next : next_chunks(plan, costs)) {
    redraw_owners(plan, *next.request);
    plan.prefill.push_back(chunk_of(next));
    if (plan.prefill.back().samples) plan.prefill.back().forks = fork_at_the_end_of(*next.request);
  }
  plan.epoch = ++epoch_;
  plan.forks = std::exchange(forked_, {});
  plan.preempted = std::exchange(gone_back_, {});
  plan.finished = std::exchange(left_, {});
  plan.moves = std::exchange(moved_, {});
  plan_run(plan);
  for (const Running& request : running_) grant_pages(plan, request);
  plan.spills = ledger_.take_spilled();
  set_group(plan);
  return plan;
}

/// All that compute something, have pages of who decodes, are to hear of pages, or have to tell of
/// what they fetch. More pages than a row sees may be open, where a conversation goes on from an
/// earlier position.
void StepPlanner::set_group(StepPlan& plan) const {
  std::vector<bool> takes_part(options_.capacity.size());
  std::size_t members = 0;
  const auto add = [&](int rank) {
    members += takes_part[rank] ? 0 : 1;
    takes_part[rank] = true;
  };
  for (const PrefillChunk& chunk : plan.prefill) std::ranges::for_each(chunk.group, add);
  for (const GrantedPage& page : plan.grants) add(page.at.owner);
  for (const PageFetch& fetch : fetching_) add(fetch.at.owner);
  for (const Running& request : running_) {
    if (request.prefilling()) continue;
    for (const PageRef page : ledger_.pages(request.shape.id)) {
      if (members == options_.group.size()) break;
      add(page.owner);
    }
    // Any may sample for it when the run is over, and must have heard what was sampled until then.
    if (plan.run.goes_on() && request.shape.looks_back) std::ranges::for_each(options_.group, add);
  }
  for (std::size_t rank = 0; rank < takes_part.size(); ++rank) {
    if (takes_part[rank]) plan.group.push_back(static_cast<int>(rank));
  }
}

/// Pages for all that the step, or the run, computes of a request, if it has not got them.
void StepPlanner::grant_pages(StepPlan& plan, const Running& request) {
  const RequestId id = request.shape.id;
  const std::int64_t needed = pages_for(request.computed + ahead(request), options_.page_tokens);
  for (std::int64_t page = std::ssize(ledger_.pages(id)); page < needed; ++page) {
    const auto granted = ledger_.try_grant(id, std::span(request.owners).subspan(page, 1));
    if (!granted) {
      throw std::logic_error("rank " + std::to_string(request.owners[page]) +
                             " has no page left of those that it was to have for request " +
                             std::to_string(id));
    }
    plan.grants.push_back(
        {.request = id, .page = page, .at = granted->page, .copied = granted->copy_tokens});
  }
}

/// Whose chunks may be next, in order. Running requests are in the order in which they started.
std::vector<StepPlanner::Running*> StepPlanner::next_prompts() {
  std::vector<Running*> next;
  for (Running& request : running_) {
    if (!request.prefilling() || request.fetches()) continue;
    next.push_back(&request);
    if (request.overtaken >= options_.max_overtaken) break;
  }
  if (options_.filling == Filling::kFirstCome) return next;
  std::ranges::stable_sort(next, {}, &Running::prompt_left);
  return next;
}

/// Those that have a place in the step, beside the rows of `plan`.
std::vector<StepPlanner::NextChunk> StepPlanner::next_chunks(const StepPlan& plan,
                                                             const CostModel* costs) {
  ChunkBudget budget(rules_, std::ssize(plan.decode), shape_of(plan.decode, rules_.degree), costs);
  std::vector<NextChunk> next;
  for (Running* prompt : next_prompts()) {
    const std::int64_t count = budget.take(prompt->computed, prompt->prompt_left());
    if (count == 0) break;
    next.push_back({prompt, count});
  }
  count_overtaken(next);
  return next;
}

void StepPlanner::count_overtaken(const std::vector<NextChunk>& next) {
  bool is_before_another = false;
  for (Running& request : std::views::reverse(running_)) {
    const bool goes = std::ranges::count(next, &request, &NextChunk::request) > 0;
    if (goes) request.overtaken = 0;
    if (!goes && is_before_another && request.prefilling()) ++request.overtaken;
    is_before_another |= goes;
  }
}

PrefillChunk StepPlanner::chunk_of(const NextChunk& next) {
  Running& request = *next.request;
  const std::int64_t left = request.prompt_left(), count = next.count;
  regroup(request, request.computed + count);
  PrefillChunk chunk{.request = request.shape.id,
                     .group = request.group,
                     .holders = static_cast<int>(std::ssize(request.group)) - request.computing,
                     .first = request.computed,
                     .count = count};
  chunk.layout = options_.layout;
  chunk.block = options_.whole_pages
                    ? options_.page_tokens
                    : compute_block(count, request.computing, options_.page_tokens);
  chunk.samples = count == left && request.sampled == 0;
  chunk.wants_nll = request.shape.wants_nll;
  request.begun = true;
  request.computed += count;
  return chunk;
}

/// One token of every request that decodes, by the rank that is to have its keys.
void StepPlanner::add_decode_rows(StepPlan& plan) {
  for (Running& request : running_) {
    if (request.prefilling()) continue;
    redraw_owners(plan, request);
    const std::int64_t position = request.computed++;
    const int master = request.owners[position / options_.page_tokens];
    const bool known = request.knows_behind(position);
    const std::int32_t token =
        known ? request.answer[position - request.shape.prompt_tokens] : request.last_token;
    request.join(master);
    plan.decode.push_back({request.shape.id, position, token, master});
    if (known) plan.known.push_back(request.shape.id);
  }
}

void StepPlanner::name_more(RequestId id, std::span<const PageHash> names) {
  const auto request = find_in(running_, id);
  if (request == running_.end()) return;  // it has ended, and fills no page
  request->shape.names.insert(request->shape.names.end(), names.begin(), names.end());
}

const std::vector<int>& StepPlanner::owners(RequestId id) const {
  const auto request = std::ranges::find(running_, id, [](const Running& r) { return r.shape.id; });
  if (request == running_.end()) throw std::logic_error("owners of a request that does not run");
  return request->owners;
}

std::deque<StepPlanner::Running>::iterator StepPlanner::find_in(std::deque<Running>& list,
                                                                RequestId id) {
  return std::ranges::find(list, id, [](const Running& r) { return r.shape.id; });
}

bool StepPlanner::holds(RequestId id) const {
  return std::ranges::any_of(held_, [id](const Running& r) { return r.shape.id == id; });
}

std::vector<RequestId> StepPlanner::completed(const std::vector<SampledToken>& sampled) {
  count_step();
  for (const PageRef page : std::exchange(leaving_, {})) {
    ++unpromised_[page.owner];
    (void)ledger_.drained(page);
  }
  for (const Running& request : running_) note_computed(request);
  let_go_of_tails();
  begin_forks();
  std::vector<RequestId> ended;
  for (const SampledToken& one : sampled) {
    const auto request = find_in(running_, one.request);
    if (request == running_.end()) continue;  // aborted meanwhile
    if (request->knows_behind(request->computed - 1)) continue;
    request->last_token = one.token;
    ++request->sampled;
    if (may_go_back(request->shape)) request->answer.push_back(one.token);
    const bool stopped = std::ranges::count(request->shape.stop_tokens, one.token) > 0;
    if (!stopped && request->sampled < request->shape.max_new) continue;
    ended.push_back(one.request);
    finish(request);
  }
  for (const RequestId id : std::exchange(ends_later_, {})) end(id);
  return ended;
}

/// Pages that are full can be found by others, if they have names.
void StepPlanner::note_computed(const Running& request) {
  const RequestId id = request.shape.id;
  const std::span<const PageHash> names = request.shape.names;
  const std::int64_t before = ledger_.computed(id) / options_.page_tokens;
  const std::int64_t after = request.computed / options_.page_tokens;
  const bool named = before < after && after <= std::ssize(names);
  (void)ledger_.advance(id, request.computed,
                        named ? names.subspan(before, after - before) : names.first(0));
}

void StepPlanner::end(RequestId id) {
  const auto concerns_it = [id](const Forking& fork) {
    return fork.parent == id || fork.child.shape.id == id;
  };
  const bool is_busy = std::ranges::any_of(forking_, concerns_it) || copies(id);
  if (is_busy) return ends_later_.push_back(id);
  const auto is_it = [id](const RequestShape& shape) { return shape.id == id; };
  if (std::erase_if(waiting_, is_it) > 0) {
    left_.push_back(id);
    preempted_.erase(id);
    std::erase(gone_back_, id);
  }
  const auto request = find_in(running_, id);
  if (request != running_.end()) finish(request);
}

void StepPlanner::abort(RequestId id) {
  end(id);
  const auto request = find_in(held_, id);
  if (request != held_.end()) leave(held_, request);
}

void StepPlanner::finish(std::deque<Running>::iterator request) {
  if (request->shape.room == 0) return leave(running_, request);
  held_.push_back(std::move(*request));
  running_.erase(request);
}

void StepPlanner::leave(std::deque<Running>& list, std::deque<Running>::iterator request) {
  give_back(*request);
  std::erase(gone_back_, request->shape.id);
  left_.push_back(request->shape.id);
  list.erase(request);
}

/// Ranks with the pages that it has and nobody else, and those that will have the rest of what it
/// is promised.
std::vector<int> StepPlanner::own_places(const Running& request) const {
  const std::span<const PageRef> pages = ledger_.pages(request.shape.id);
  std::vector<int> places;
  for (const PageRef page : pages) {
    if (ledger_.find(page)->refs <= 1) places.push_back(page.owner);
  }
  for (std::int64_t page = std::ssize(pages); page < request.promised; ++page) {
    places.push_back(request.owners[page]);
  }
  return places;
}

/// All that it has of memory, and was promised. The places of what others have too are theirs.
void StepPlanner::give_back(const Running& request) {
  const RequestId id = request.shape.id;
  keep_tail(id);
  for (const int place : own_places(request)) ++unpromised_[place];
  for (const Moving& page : moving_) {
    if (page.request != id) continue;
    ++unpromised_[page.move.to.owner];
    ledger_.cancel_move(page.move.id);
  }
  std::erase_if(moving_, [id](const Moving& page) { return page.request == id; });
  std::erase_if(forked_, [id](const ForkedRequest& fork) { return fork.to == id; });
  ledger_.release(id);
}

}  // namespace longspan
