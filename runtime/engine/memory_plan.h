// What every rank allocates for a job, worked out before anything is allocated: the job then
// cannot run out of memory.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "runtime/engine/worker.h"
#include "scheduler/step_planner.h"

namespace longspan {

/// What the plan is for: one group of a job, all of which are alike.
struct JobShape {
  int degree = 1;
  int least_degree = 0;  // ranks that compute a chunk, where that may change; 0: `degree`
  int groups = 1;        // of the job
  std::int64_t page_tokens = 16;
  std::int64_t chunk_tokens = 512;
  std::int64_t ffn_block_rows = Transformer::Limits{}.ffn_block_rows;
  Retention keep = Retention::kSpread;
  KvType kv_type = KvType::kFloat32;
  int max_running = 64;
  int max_chunks = 16;                                                // of a step
  std::int64_t step_rows = std::numeric_limits<std::int64_t>::max();  // of one rank in a step
  int spare_pages = 0;  // of each rank, beside those of the requests
  /// One: it is planned for if the longest request still fits, else ring is. Several: those are
  /// that take no page from the requests.
  std::vector<PlannedStrategy> plans{PlannedStrategy{}};
  DecodeStrategySet decode_strategies{DecodeStrategy::kShipped};
  Approximation attention;
  /// Requests may have to begin again, with what they have written read as their prompts.
  bool reads_answers = false;
  std::vector<RequestShape> requests;
};

/// For each rank of a group; idle ranks allocate nothing. `config`: of the first part of the
/// model, the largest. `per_rank` is what the scarcest rank has left, weights loaded. Throws
/// OutOfMemory, with the numbers and what to lower, when the longest request does not fit.
WorkerMemory plan_memory(const ModelConfig& config, const JobShape& job, std::int64_t per_rank);

/// For requests that all have one room, as a conversation: as much of it as fits for one of them,
/// to a page, or the least there is, 2 tokens.
std::int64_t longest_room(const ModelConfig& config, const JobShape& job, std::int64_t per_rank);

}  // namespace longspan
