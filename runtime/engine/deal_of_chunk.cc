#include "runtime/engine/deal_of_chunk.h"

#include "comm/error.h"

namespace longspan {

DealtBy dealt_by(Layout layout) {
  switch (layout) {
    case Layout::kBlockCyclic:
      return DealtBy::kBlockCyclic;
    case Layout::kStriped:
      return DealtBy::kStriped;
    case Layout::kZigzag:
      return DealtBy::kZigzag;
    case Layout::kContiguous:
      return DealtBy::kContiguous;
    case Layout::kFolded:
      return DealtBy::kFolded;
  }
  __builtin_unreachable();
}

Layout layout_of(DealtBy dealt) {
  switch (dealt) {
    case DealtBy::kBlockCyclic:
      return Layout::kBlockCyclic;
    case DealtBy::kStriped:
      return Layout::kStriped;
    case DealtBy::kZigzag:
      return Layout::kZigzag;
    case DealtBy::kContiguous:
      return Layout::kContiguous;
    case DealtBy::kFolded:
      return Layout::kFolded;
  }
  throw CommError("a plan with an unknown layout");
}

Deal deal_of(const PrefillChunk& chunk) {
  return {.layout = layout_of(chunk.layout),
          .first = chunk.first,
          .count = chunk.count,
          .ranks = chunk.computing(),
          .block = chunk.block,
          .holders = chunk.holders};
}

}  // namespace longspan
