// How much of its prompts a step reads: never more than a rank has rows for, and no more than keeps
// the step within a time, so that answers go on without a pause and whoever comes is soon seen to.
//
//   rows that decode aboard   the target, which is the time between two tokens of an answer
//   none                      the target, or 3 a up to 0.5 s where that is more: what waits is only
//                             the next plan, and steps that read little cost a (a step's price
//                             before it reads anything) too often
//
// Times hang on the machine and on what else it does, so a chunk that is cut by time ends somewhere
// else from run to run. Where keys are stored as they are computed no token depends on that. Where
// they are rounded it would: a chunk's rows see its own keys unrounded. There cuts are fixed, and
// time only decides who shares a step with the first chunk.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "scheduler/cost_model.h"

namespace longspan {

struct ChunkRules {
  int degree = 1;        // ranks that compute a chunk, as costs go
  int least_degree = 0;  // the fewest that may come to: each has rows for its share; 0: `degree`
  std::int64_t page_tokens = 16;
  std::int64_t chunk_tokens = 512;  // the most of one chunk, and of a step
  int max_chunks = 16;              // of a step: each may add to what one rank computes
  std::int64_t step_rows = std::numeric_limits<std::int64_t>::max();  // of one rank in a step
  bool cuts_are_fixed = false;  // each chunk but a prompt's last has `chunk_tokens`
  /// Rows that decode are of the `chunk_tokens` too, and a later prompt's chunk is cut to what is
  /// left of them. Without effect where cuts are fixed.
  bool fills_budget = false;
  std::optional<Nanoseconds> target;  // of a step; absent: any time

  int fewest() const { return least_degree > 0 ? least_degree : degree; }
};

/// The rules as they can be kept: with fixed cuts a chunk has rows beside `most_rows` that decode.
/// step_rows >= most_rows, or no prompt could be read beside them.
ChunkRules kept_beside(ChunkRules rules, std::int64_t most_rows);

/// What one step may still read, beside `rows` that decode, of `shape`.
class ChunkBudget {
 public:
  /// `costs`: none, or outlive this; without them nothing is cut by time.
  ChunkBudget(const ChunkRules& rules, std::int64_t rows, const DecodeShape& shape,
              const CostModel* costs);

  /// Takes the next chunk of a prompt of which `computed` positions are computed and `left`, 1 at
  /// least, are not. Returns its tokens; 0, and the step is full, when it has no place beside what
  /// was taken. The first one always has: whole, or cut to a multiple of a page for each rank
  /// (one at least, if a rank has rows for it). Others are whole, or cut so where budgets are
  /// filled.
  std::int64_t take(std::int64_t computed, std::int64_t left);

 private:
  std::int64_t in_rows(std::int64_t tokens) const;
  std::int64_t in_time(std::int64_t computed, std::int64_t tokens) const;
  std::int64_t in_budget(std::int64_t tokens) const;
  bool cuts_to_fill() const { return rules_.fills_budget && !rules_.cuts_are_fixed; }
  std::int64_t whole_pages(std::int64_t tokens) const;
  std::int64_t page_of_each() const { return rules_.degree * rules_.page_tokens; }

  ChunkRules rules_;
  std::int64_t tokens_left_;
  std::int64_t rows_left_;
  int chunks_ = 0;
  std::optional<PrefillCost> cost_;  // absent: any time
  Nanoseconds time_left_ = 0;        // beside a
};

}  // namespace longspan
