// Which keys count, where a mask leaves that to a choice made while the step runs: by KV head, by
// unit of query rows and by unit of keys. A unit is some positions in a row, counted from 0.
#pragma once

#include <cstdint>

namespace longspan {

struct KeyChoice {
  std::int64_t query_unit = 1;   // positions
  std::int64_t key_unit = 1;     // positions
  std::int64_t query_units = 0;  // that cover the sequence
  std::int64_t key_units = 0;
  /// (kv_heads, query_units, key_units), 1 or 0: the device's memory, filled by the stream before
  /// what reads it.
  const std::uint8_t* chosen = nullptr;

  /// Of all key units, for rows of `query_unit_index`.
  constexpr const std::uint8_t* of(int kv_head, std::int64_t query_unit_index) const {
    return chosen + (kv_head * query_units + query_unit_index) * key_units;
  }
  /// The same choice, counted from KV head `kv_head` on.
  constexpr KeyChoice from_head(int kv_head) const {
    KeyChoice rest = *this;
    if (rest.chosen) rest.chosen = of(kv_head, 0);
    return rest;
  }
};

}  // namespace longspan
