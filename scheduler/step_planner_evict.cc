// How StepPlanner shares memory that is not promised to the last page, and who gives way.
//
//   start      its prompt and a part of its answer: answer_part tokens, open_answer_part without a
//              limit
//   goes on    as much again, as far as there is
//   no page    the youngest of those that may go back does, and waits with what it has written:
//              who named no limit first, and never for the sake of one that named none either
//   again      prompt and answer are read, twice the part is promised, and the answer goes on
//
// Since the part doubles, a request goes back a few times at most: then it is promised all, and
// goes back no more. So every job ends. Nothing starts in a step in which somebody gave way.
#include <algorithm>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {

/// Conversations keep what they have, and likelihoods were told as they were read.
bool StepPlanner::may_go_back(const RequestShape& request) const {
  if (request.room > 0 || request.wants_nll) return false;
  return !request.names_limit || options_.memory == MemoryMode::kUtilize;
}

/// Who has been promised all ends without asking for more. Whose page a fork is to copy stays for
/// this step, and to whom pages are sent until they have come.
bool StepPlanner::can_go_back(const Running& request) const {
  return may_go_back(request.shape) && request.promised < std::ssize(request.owners) &&
         !(request.fetches() && request.copies) &&
         std::ranges::count(forked_, request.shape.id, &ForkedRequest::from) == 0;
}

/// Tokens that a waiting request has sampled before.
std::int64_t StepPlanner::written(const RequestShape& request) const {
  const auto before = preempted_.find(request.id);
  return before == preempted_.end() ? 0 : std::ssize(before->second.answer);
}

/// Positions of a waiting request that are read when it starts. Its last token is a row of its own,
/// behind which it goes on.
std::int64_t StepPlanner::to_read(const RequestShape& request) const {
  const std::int64_t again = options_.replays_answers ? 0 : written(request);
  return request.prompt_tokens + std::max<std::int64_t>(0, again - 1);
}

/// Positions that a waiting request is promised when it starts.
std::int64_t StepPlanner::first_promise(const RequestShape& request) const {
  constexpr int kMostDoublings = 20;
  const std::int64_t worst = worst_tokens(request);
  if (!may_go_back(request)) return worst;
  const auto before = preempted_.find(request.id);
  const int times = before == preempted_.end() ? 0 : before->second.times;
  const std::int64_t part = request.names_limit ? options_.answer_part : options_.open_answer_part;
  const std::int64_t grown = part << std::min(times, kMostDoublings);
  return std::min(worst, request.prompt_tokens + written(request) + grown);
}

std::int64_t StepPlanner::first_pages(const RequestShape& request) const {
  return pages_for(first_promise(request), options_.page_tokens);
}

std::int64_t StepPlanner::waiting_tokens() const {
  std::int64_t tokens = 0;
  for (const RequestShape& request : waiting_) tokens += to_read(request);
  return tokens;
}

std::span<const std::int32_t> StepPlanner::read_again(RequestId id) const {
  std::span<const std::int32_t> answer;
  if (const auto before = preempted_.find(id); before != preempted_.end()) {
    answer = before->second.answer;
  }
  const auto running = std::ranges::find(running_, id, [](const Running& r) { return r.shape.id; });
  if (running != running_.end()) answer = running->answer;
  if (options_.replays_answers || answer.empty()) return {};
  return answer.first(answer.size() - 1);
}

/// Owners of the pages that it is not promised yet: as if it had all memory to itself, which it can
/// come to have. Behind its others where pages are kept together.
bool StepPlanner::add_later_owners(std::vector<int>& owners, std::int64_t pages,
                                   std::span<const int> group, std::span<const int> before) const {
  std::int64_t next = std::ssize(before) + std::ssize(owners);
  if (next == pages) return true;
  std::vector<std::int64_t> room = options_.capacity;
  for (const int owner : before) --room[owner];
  for (const int owner : owners) --room[owner];
  if (std::ranges::any_of(room, [](std::int64_t left) { return left < 0; })) return false;
  if (options_.keep == Retention::kFewest) {
    const int last = owners.empty() ? before.back() : owners.back();
    const std::int64_t beside = std::min(room[last], pages - next);
    owners.insert(owners.end(), beside, last);
    room[last] -= beside;
    next += beside;
  }
  auto rest = place_pages(options_.keep, group, pages, room, spread_order(), next);
  if (!rest && options_.step_policy) {
    rest = place_pages(Retention::kFewest, group, pages, room, spread_order(), next);
  }
  if (!rest) return false;
  owners.insert(owners.end(), rest->begin(), rest->end());
  return true;
}

/// Of all whose next row is on a page that they were not promised, the oldest first. True when
/// somebody gave way.
bool StepPlanner::grow_promises() {
  std::vector<std::pair<Nanoseconds, RequestId>> short_ones;
  for (const Running& request : running_) {
    const bool needs_more = request.computed / options_.page_tokens >= request.promised;
    if (!request.prefilling() && needs_more) {
      short_ones.emplace_back(request.shape.arrival, request.shape.id);
    }
  }
  std::ranges::sort(short_ones);
  const std::int64_t before = preemptions_;
  for (const auto& [arrival, id] : short_ones) {
    for (auto request = find_in(running_, id); request != running_.end();
         request = find_in(running_, id)) {
      if (grow(*request)) break;
      preempt(who_makes_room(*request));
    }
  }
  return preemptions_ > before;
}

/// By a part of its answer, or as much of that as there is. False where there is nothing.
bool StepPlanner::grow(Running& request) {
  const std::int64_t part =
      request.shape.names_limit ? options_.answer_part : options_.open_answer_part;
  const std::int64_t wanted = std::min<std::int64_t>(
      std::ssize(request.owners), pages_for(request.computed + part, options_.page_tokens));
  const std::int64_t left = ledger_.promise().left();
  std::int64_t more = 0;
  while (request.promised + more < wanted && more < left &&
         unpromised_[request.owners[request.promised + more]] > 0) {
    --unpromised_[request.owners[request.promised + more++]];
  }
  if (more == 0) return false;
  request.promised += more;
  if (!ledger_.try_promise(request.shape.id, request.promised * options_.page_tokens)) {
    throw std::logic_error("the ledger promises less than it has left");
  }
  return true;
}

/// Who goes back so that `request` can go on, itself if nobody else may: where a rank is full,
/// somebody with a place there.
RequestId StepPlanner::who_makes_room(const Running& request) const {
  const int wanted = request.owners[request.promised];
  const auto helps = [&](const Running& other) {
    return unpromised_[wanted] > 0 || std::ranges::count(own_places(other), wanted) > 0;
  };
  // Of those without a limit, for one with, any; of its own kind the younger ones.
  const auto order = [&](const Running& other) {
    const bool same = other.shape.names_limit == request.shape.names_limit;
    return std::tuple(!same, other.shape.arrival, other.shape.id);
  };
  const Running* first = &request;
  for (const Running& other : running_) {
    const bool pays = request.shape.names_limit || !other.shape.names_limit;
    if (pays && can_go_back(other) && order(other) > order(*first) && helps(other)) first = &other;
  }
  return first->shape.id;
}

/// Its full pages are cached if they have names.
void StepPlanner::preempt(RequestId id) {
  const auto request = find_in(running_, id);
  ++request->preempted;
  ++preemptions_;
  wait_again(request);
}

void StepPlanner::wait_again(std::deque<Running>::iterator request) {
  const RequestId id = request->shape.id;
  give_back(*request);
  RequestShape shape = std::move(request->shape);
  if (request->sampled > 0) shape.like.reset();  // what it would go on from has been read
  if (request->preempted > 0) {
    preempted_[id] = {.answer = std::move(request->answer), .times = request->preempted};
  }
  running_.erase(request);
  const auto later = std::ranges::find_if(waiting_, [&](const RequestShape& other) {
    return std::tuple(other.arrival, other.id) > std::tuple(shape.arrival, id);
  });
  waiting_.insert(later, std::move(shape));
  if (std::ranges::count(gone_back_, id) == 0) gone_back_.push_back(id);
}

}  // namespace longspan
