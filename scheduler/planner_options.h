// What a planner of steps is told once: ranks and their memory, how prompts are cut and dealt, and
// what may change on the way.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "scheduler/memory_mode.h"
#include "scheduler/placement.h"
#include "scheduler/policies/step_policy.h"
#include "scheduler/queue_order.h"
#include "scheduler/step_plan.h"

namespace longspan {

/// Which prompts a step reads beside the rows that decode, and how much of each.
enum class Filling {
  kShortestFirst,  // those with the fewest tokens left, and no part of one that others leave no
                   // room for
  kFirstCome,      // in the order in which they started, as much as a budget holds of which the
                   // rows have taken their part
};

struct PlannerOptions {
  std::vector<int> group;              // ranks that compute prefill, in order
  std::vector<std::int64_t> capacity;  // pages, by world rank
  std::int64_t page_tokens = 16;
  DealtBy layout = DealtBy::kBlockCyclic;
  Retention keep = Retention::kSpread;
  bool whole_pages = false;  // deal by pages even where ranks go idle: each keeps what it computes
  std::int64_t chunk_tokens = 512;  // of the whole group, in a step; a prompt's last has the rest
  Filling filling = Filling::kShortestFirst;
  int max_chunks = 16;   // of a step: each may add to what one rank computes
  int max_running = 64;  // requests that have started and not been forgotten
  /// Of one rank in a step, chunks and rows that decode: no more run than could decode together.
  std::int64_t step_rows = std::numeric_limits<std::int64_t>::max();
  /// Of a step's time, where costs are known: see chunk_budget.h. Absent: any.
  std::optional<Nanoseconds> target;
  /// Of one plan, while rows decode and nothing else is to be done; never more than a page has
  /// tokens. A policy for a request's borders is asked before each step, so with one it is 1.
  std::int64_t run_steps = 1;
  int max_overtaken = 4;       // steps in which later prompts go before one that waits
  int max_passed = 16;         // later arrivals that start before one that waits to start
  std::int64_t headroom = 0;   // pages of all ranks together that only moves may take
  std::int64_t hit_pages = 1;  // what a request has of a prefix is a multiple of so many
  int turn = 1;  // a request's first page is on any rank that is a multiple of this in the group
  bool rounds_full_pages = false;  // a page that was full cannot be cut: its end is part of it
  bool cuts_are_fixed = false;     // what a chunk computes depends on where it begins and ends
  MemoryMode memory = MemoryMode::kNoEvict;
  /// Tokens of an answer that are promised at a time, where not all are: of one whose limit was
  /// named, and of one without.
  std::int64_t answer_part = 256;
  std::int64_t open_answer_part = 4096;
  /// What was written before a request went back to waiting is computed again token by token, as it
  /// was, and not as a prompt: where keys are rounded that would change it.
  bool replays_answers = false;
  int least_degree = 0;  // ranks that compute a chunk: no policy takes fewer; 0: the whole group
  std::function<std::unique_ptr<StepPolicy>()> step_policy;  // none: nothing changes on the way
  /// Bytes per second of the pages that a policy moves, as far as page_bytes says; 0: no limit.
  std::int64_t move_bandwidth = 0;
  /// Places for evicted pages, by world rank; none: there is no tier.
  std::vector<std::int64_t> tier = {};
  /// Of a page, all ranks of its owner together; for those who ask.
  std::int64_t page_bytes = 0;
  /// What copying a page from a rank of another group should take, before one was timed. 0: none
  /// is copied.
  Nanoseconds copy_time = 0;
};

}  // namespace longspan
