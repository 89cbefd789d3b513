#include "scheduler/step_size.h"

#include <algorithm>
#include <map>

namespace longspan {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Rows that one chunk can add to an even share of its tokens.
std::int64_t uneven_rows(std::int64_t page_tokens) {
  return 2 * std::max<std::int64_t>(page_tokens, 16) + 2;
}

}  // namespace

DecodeShape shape_of(const std::vector<DecodeStep>& rows, int degree) {
  DecodeShape shape;
  std::map<int, std::int64_t> of_master;
  std::int64_t keys = 0;
  for (const DecodeStep& row : rows) {
    shape.rows = std::max(shape.rows, ++of_master[row.master]);
    keys += row.position + 1;
  }
  shape.keys = divide_up(keys, degree);
  return shape;
}

StepSize size_of(const StepPlan& plan, int degree) {
  StepSize size{.chunks = {}, .rows = shape_of(plan.decode, degree)};
  for (const PrefillChunk& chunk : plan.prefill) size.chunks.push_back({chunk.first, chunk.count});
  return size;
}

std::int64_t most_rank_rows(std::int64_t tokens, std::int64_t chunks, std::int64_t ranks,
                            std::int64_t page_tokens) {
  return std::min(tokens, divide_up(tokens, ranks) + chunks * uneven_rows(page_tokens));
}

std::int64_t most_chunk_tokens(std::int64_t rows, std::int64_t ranks, std::int64_t page_tokens) {
  return std::max(rows, ranks * (rows - uneven_rows(page_tokens)));
}

}  // namespace longspan
