// A request in numbers, and how much memory it can come to need.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/page_ref.h"
#include "scheduler/placement.h"
#include "scheduler/queue_order.h"
#include "scheduler/step_plan.h"

namespace longspan {

/// One request as the planner sees it.
struct RequestShape {
  RequestId id = 0;
  std::int64_t prompt_tokens = 0;         // 1 at least
  std::int64_t max_new = 0;               // 1 at least
  std::vector<std::int32_t> stop_tokens;  // each ends the request when sampled
  bool wants_nll = false;
  /// 0, or the most tokens it may come to have, those of later prompts included: then it is held at
  /// its end.
  std::int64_t room = 0;
  /// An earlier request of the same prompt and max_new. If that goes on, and there is room for this
  /// one too, when its prompt is read, they go on as forks; else this one is as any other.
  std::optional<RequestId> like;
  bool looks_back = false;  // who samples for it must know all its tokens
  bool names_limit = true;  // or max_new is what there is room for, which nobody may want
  Nanoseconds arrival = 0;  // by the clock of next()
  std::optional<Nanoseconds> deadline;  // for its first token
  Urgency urgency = Urgency::kInteractive;
  std::string tenant;  // with whose others it waits in turn
  /// Names of the prompt's full pages, by which it finds what others have computed of it, and they
  /// what it has; none: it shares nothing. Every row whose likelihood is wanted is computed.
  std::vector<PageHash> names;
  /// Positions of its prompt that it should find computed, for outstanding().
  std::int64_t expected = 0;
  /// Whether it has pages copied that another group has of its prompt (prefix_choice.h).
  bool copies = false;

  std::int64_t longest_prompt() const { return std::max(prompt_tokens, room - 1); }
  bool fits_its_room() const { return room == 0 || prompt_tokens + max_new <= room; }
};

/// Positions that `request` can come to compute: all but the last token it samples.
constexpr std::int64_t worst_tokens(const RequestShape& request) {
  return std::max(request.prompt_tokens + request.max_new, request.room) - 1;
}

/// Pages that it can come to need for them.
constexpr std::int64_t worst_pages(const RequestShape& request, std::int64_t page_tokens) {
  return pages_for(worst_tokens(request), page_tokens);
}

}  // namespace longspan
