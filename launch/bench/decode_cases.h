// The steps that `longspan bench decode` measures: some rows, each over the keys of a sequence that
// is spread over the ranks page by page: its own, or one that all but end with.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/decode_batch.h"
#include "launch/bench/bench_options.h"

namespace longspan {

struct DecodeCase {
  std::int64_t context = 1;  // keys of each row, its own among them
  int rows = 1;
  std::int64_t page_tokens = 16;
  int ranks = 1;
  RowKeys keys = RowKeys::kOwn;

  /// Whether the page is the same memory for all rows.
  bool is_shared(std::int64_t page) const {
    return keys == RowKeys::kShared && (page + 1) * page_tokens < context;
  }
  /// The owner of a page of a row. The sequences begin, or end, on one rank after another, so that
  /// their masters differ as they do where lengths do.
  int owner(int row, std::int64_t page) const {
    return static_cast<int>(((is_shared(page) ? 0 : row) + page) % ranks);
  }
  /// Pages of all rows that `rank` owns.
  std::int64_t pages(int rank) const;
  /// The step as `rank` sees it; its pages are taken from `slots` in order.
  DecodeBatch batch(int rank, const std::vector<std::int32_t>& slots) const;
};

/// Every context with every number of rows, whose keys are whose they may be.
std::vector<DecodeCase> decode_cases(const BenchDecodeOptions& options, int ranks);

}  // namespace longspan
