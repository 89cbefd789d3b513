#include "attention/decode_batch.h"

#include <algorithm>

namespace longspan {
namespace {

template <typename Predicate>
std::vector<int> rows_that(const std::vector<DecodeBatchRow>& rows, const Predicate& wanted) {
  std::vector<int> out;
  for (int i = 0; i < std::ssize(rows); ++i) {
    if (wanted(rows[i])) out.push_back(i);
  }
  return out;
}

}  // namespace

bool DecodeBatchRow::owned_by(int rank) const { return std::ranges::count(owners, rank) > 0; }

std::vector<int> DecodeBatch::shipped(int master, int owner) const {
  return rows_that(
      rows, [=](const DecodeBatchRow& row) { return row.master == master && row.owned_by(owner); });
}

std::vector<int> DecodeBatch::mastered(int master) const {
  return rows_that(rows, [=](const DecodeBatchRow& row) { return row.master == master; });
}

std::vector<int> DecodeBatch::owned(int owner) const {
  return rows_that(rows, [=](const DecodeBatchRow& row) { return row.owned_by(owner); });
}

}  // namespace longspan
