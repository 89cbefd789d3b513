// Which keys a query may see, by position. A model says it layer by layer.
//
//   causal       its own key and every one before it
//   window W     the last W of those, its own included (Hugging Face's meaning)
//   full         every key there is
//
// Nobody sees keys that do not exist yet: a row of a prompt's chunk under a full mask sees what is
// cached and the whole chunk, whichever ranks compute it, and a decode row its own key and all
// before.
#pragma once

#include <cstdint>
#include <limits>

#include "attention/shard_layout.h"
#include "comm/error.h"

namespace longspan {

class Mask {
 public:
  static constexpr Mask causal() { return Mask(kEverything, false); }
  /// `keys` >= 1.
  static Mask window(std::int64_t keys) {
    expects(keys >= 1, "a window holds the query's own key");
    return Mask(keys, false);
  }
  static constexpr Mask full() { return Mask(kEverything, true); }

  constexpr bool is_full() const { return full_; }
  constexpr bool is_windowed() const { return keys_ != kEverything; }
  /// Keys that a query sees at most; of a windowed mask.
  constexpr std::int64_t keys() const { return keys_; }
  /// The first position that a query at `query` may see; 0 unless windowed.
  constexpr std::int64_t first_seen(std::int64_t query) const {
    return is_windowed() && query >= keys_ ? query - keys_ + 1 : 0;
  }
  /// The positions that a query at `query` sees; not for full masks, which have no bounds.
  constexpr Interval seen(std::int64_t query) const { return {first_seen(query), query + 1}; }

  constexpr bool operator==(const Mask&) const = default;

 private:
  static constexpr std::int64_t kEverything = std::numeric_limits<std::int64_t>::max();

  constexpr Mask(std::int64_t keys, bool full) : keys_(keys), full_(full) {}

  std::int64_t keys_;  // at most, up to the query's own
  bool full_;
};

}  // namespace longspan
