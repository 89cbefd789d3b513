// How much a step is, as costs are told: its chunks and its rows.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/cost_model.h"
#include "scheduler/step_plan.h"

namespace longspan {

struct StepSize {
  std::vector<ChunkSize> chunks;
  DecodeShape rows;
};

/// Of decode rows over a group of `degree` ranks. Their keys count as spread evenly: where they are
/// not, what a key was seen to cost makes up for it.
DecodeShape shape_of(const std::vector<DecodeStep>& rows, int degree);

StepSize size_of(const StepPlan& plan, int degree);

/// The most rows that any layout gives one of `ranks` ranks of so many chunks with `tokens`
/// together: an even share, and for each what rounding to blocks and a broken first block can add.
std::int64_t most_rank_rows(std::int64_t tokens, std::int64_t chunks, std::int64_t ranks,
                            std::int64_t page_tokens);

/// The most tokens of a chunk of which no rank gets more than `rows` rows, by that bound.
std::int64_t most_chunk_tokens(std::int64_t rows, std::int64_t ranks, std::int64_t page_tokens);

}  // namespace longspan
