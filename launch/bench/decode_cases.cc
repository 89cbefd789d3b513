#include "launch/bench/decode_cases.h"

#include <algorithm>

#include "comm/error.h"
#include "scheduler/placement.h"

namespace longspan {

std::int64_t DecodeCase::pages(int rank) const {
  std::int64_t total = 0;
  for (int row = 0; row < rows; ++row) {
    for (std::int64_t page = 0; page < pages_for(context, page_tokens); ++page) {
      total += owner(row, page) == rank && (row == 0 || !is_shared(page));
    }
  }
  return total;
}

DecodeBatch DecodeCase::batch(int rank, const std::vector<std::int32_t>& slots) const {
  DecodeBatch batch{.rank = rank, .size = ranks, .rows = {}};
  const std::int64_t all = pages_for(context, page_tokens);
  auto next = slots.begin();
  for (int i = 0; i < rows; ++i) {
    DecodeBatchRow row{
        .master = owner(i, all - 1), .owners = {}, .slots = {}, .first = 0, .columns = 0};
    for (std::int64_t page = 0; page < all; ++page) {
      const int holder = owner(i, page);
      if (std::ranges::count(row.owners, holder) == 0) row.owners.push_back(holder);
      if (holder != rank) continue;
      row.columns += std::min(page_tokens, context - page * page_tokens);
      if (i > 0 && is_shared(page)) {
        row.slots.push_back(batch.rows[0].slots.at(row.slots.size()));
        continue;
      }
      expects(next != slots.end(), "there is a slot for every page");
      row.slots.push_back(*next++);
    }
    std::ranges::sort(row.owners);
    batch.rows.push_back(std::move(row));
  }
  return batch;
}

std::vector<DecodeCase> decode_cases(const BenchDecodeOptions& options, int ranks) {
  std::vector<DecodeCase> cases;
  for (std::int64_t context : options.contexts) {
    for (int rows : options.rows) {
      for (const RowKeys keys : options.row_keys) {
        cases.push_back({.context = context,
                         .rows = rows,
                         .page_tokens = options.page(),
                         .ranks = ranks,
                         .keys = keys});
      }
    }
  }
  return cases;
}

}  // namespace longspan
