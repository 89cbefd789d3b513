// A call of decode() as splits for the matrix units: the host's half of decode_splits.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/cuda/decode_splits.h"
#include "attention/kernels.h"

namespace longspan {

struct DecodePlan {
  std::vector<SplitRow> rows;       // in the call's order
  std::vector<DecodeSplit> splits;  // rows of long splits first; of equal ones all rows' first ones
  std::vector<SplitKeys> keys;      // of the segments with columns, in order; tables the host's

  SplitCounts counts() const {
    return {static_cast<std::int32_t>(splits.size()), static_cast<std::int32_t>(rows.size())};
  }
};

/// Whether the kernel can fetch all of the row's columns: bfloat16 in pages of any size; addresses
/// and strides in multiples of 16 bytes; fewer than 2^31 columns. So it is without columns.
bool fits_splits(const DecodeRow& row);

/// `rows` fit splits.
DecodePlan plan_decode(std::span<const DecodeRow> rows);

}  // namespace longspan
