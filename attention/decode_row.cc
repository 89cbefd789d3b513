#include "attention/decode_row.h"

#include <set>

namespace longspan {

DecodeBatchRow decode_row(const DecodePlace& place, int rank, const SequenceStorage& storage,
                          const Mask& mask) {
  const std::int64_t end = place.position + 1;
  const std::vector<Interval> seen = seen_by_some(mask, {place.position, end}, end);
  const auto page_of = [&](std::int64_t position) {
    return storage.owners.begin() + position / storage.page_tokens;
  };
  std::set<int> owners;
  for (const Interval& part : seen) owners.insert(page_of(part.begin), page_of(part.end - 1) + 1);
  const std::int64_t anchor = seen.size() > 1 ? seen.front().end : 0;
  return {.master = place.master,
          .owners = {owners.begin(), owners.end()},
          .slots = storage.slots,
          .anchor = owned_columns(storage, rank, anchor),
          .first = owned_columns(storage, rank, seen.back().begin),
          .columns = owned_columns(storage, rank, end),
          .tail = storage.tail};
}

}  // namespace longspan
