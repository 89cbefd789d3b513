// What a mask should mean, said key by key: the oracle of everything that works with its bounds.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "attention/mask.h"

namespace longspan::test {

struct Pattern {
  /// Does the query at one position see the key at another?
  using Sees = std::function<bool(std::int64_t query, std::int64_t key)>;

  Mask mask;
  Sees sees;
  std::string name;

  /// Of a mask whose bounds need no other description.
  Pattern(const Mask& bounds);  // NOLINT(google-explicit-constructor): it is the same thing
  Pattern(const Mask& described, Sees predicate, std::string words)
      : mask(described), sees(std::move(predicate)), name(std::move(words)) {}
};

/// The first `anchor` keys and the last `window`.
Pattern sinks(std::int64_t anchor, std::int64_t window);
/// The first `anchor` keys and those of the query's block; everything from `exact_from` on.
Pattern blocks(const BlockMask& blocks);

}  // namespace longspan::test
