#include "attention/decode_row.h"

#include <set>

namespace longspan {

DecodeBatchRow decode_row(const DecodePlace& place, int rank, const SequenceStorage& storage,
                          const Mask& mask) {
  const std::int64_t first_seen = mask.first_seen(place.position);
  const auto page_of = [&](std::int64_t position) {
    return storage.owners.begin() + position / storage.page_tokens;
  };
  const std::set<int> owners(page_of(first_seen), page_of(place.position) + 1);
  return {.master = place.master,
          .owners = {owners.begin(), owners.end()},
          .slots = storage.slots,
          .first = owned_columns(storage, rank, first_seen),
          .columns = owned_columns(storage, rank, place.position + 1),
          .tail = storage.tail};
}

}  // namespace longspan
