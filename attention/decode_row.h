// A row of a decode step, as each rank of the group works it out for itself from the plan.
#pragma once

#include "attention/decode_batch.h"
#include "attention/mask.h"
#include "attention/split_chunk.h"

namespace longspan {

/// Where a row lies and who computes it.
struct DecodePlace {
  std::int64_t position = 0;  // of the new token
  int master = 0;             // group index of the rank that computes it and keeps its KV
};

/// The row on group index `rank`. Owners are the ranks with columns that the row sees: under a
/// window those that hold the last pages, with an anchor also those of the first. The row is behind
/// whatever a mask shows only in part to earlier ones. `storage` covers the row's position.
DecodeBatchRow decode_row(const DecodePlace& place, int rank, const SequenceStorage& storage,
                          const Mask& mask);

}  // namespace longspan
