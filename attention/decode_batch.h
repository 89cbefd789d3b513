// The rows of one decode step, as every rank of the group knows them.
//
// Who holds keys of a row and who answers for it follows from the plan, so both sides of every
// message know what it holds, and messages need no header.
#pragma once

#include <cstdint>
#include <vector>

namespace longspan {

struct DecodeBatchRow {
  int master = 0;                   // group index; owns the page of the new token
  std::vector<int> owners;          // group indices with columns that the row sees, ascending
  std::vector<std::int32_t> slots;  // this rank's pages of the row, if it owns any
  std::int64_t anchor = 0;          // of this rank's columns, the first ones that the row sees
  std::int64_t first = 0;           // and from which on it sees all; not before `anchor`
  std::int64_t columns = 0;         // this rank's columns of the row, the new token's included
  std::int32_t tail = 0;            // of its pages, the one that is not full, if it fills elsewhere

  bool owned_by(int rank) const;
};

/// The rows of one step, worked out once and used by every layer.
struct DecodeBatch {
  int rank = 0;  // this rank in the group
  int size = 1;  // of the group
  std::vector<DecodeBatchRow> rows;

  /// Indices of the rows with `master` that need columns of `owner`, in order.
  std::vector<int> shipped(int master, int owner) const;
  /// Indices of the rows with `master`, in order.
  std::vector<int> mastered(int master) const;
  /// Indices of the rows that `owner` has columns of, in order.
  std::vector<int> owned(int owner) const;
};

}  // namespace longspan
