// Rows of one token over long keys: FlashDecoding's split of the keys, with fixed borders.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/cpu/workspace.h"
#include "attention/kernels.h"

namespace longspan {

/// Columns of one split. A row's columns are those of its segments, end to end; split s is
/// [512 s, 512 (s + 1)) of them, whoever else is in the batch and however they are stored.
inline constexpr std::int64_t kSplitColumns = 512;

struct Decode {
  HeadShape shape;
  float scale;
  std::vector<DecodeRow> rows;
};

/// How many partials of splits had no usable weight: keys that are not numbers. They count as
/// empty.
std::int64_t run_decode(const Decode& decode, Workspace& workspace, int threads);

}  // namespace longspan
