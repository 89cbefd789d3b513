// Why memory cannot run out: every request that starts is promised all pages that it can ever need.
//
//   capacity  | promised to those that started | pinned |  what may still start  | headroom |
//                worst case, not what they have   leases      or be cached          moves
//
// A page that several requests have counts once: it stays until the last of them ends. Promised,
// every grant can be met: what is not live, granted, pinned or of a move is free or cached, and
// cached pages can be evicted.
#pragma once

#include <cstdint>

namespace longspan {

/// Pages, all of them.
struct PoolPromise {
  std::int64_t capacity = 0;  // what can be handed out now
  std::int64_t headroom = 0;  // kept for moves
  std::int64_t promised = 0;  // the worst cases of all that started, what they share once
  std::int64_t pinned = 0;    // kept by leases

  std::int64_t left() const { return capacity - headroom - promised - pinned; }
  bool fits(std::int64_t pages) const { return pages <= left(); }
  /// False once capacity was lost that had been promised: then somebody goes back to waiting.
  bool holds() const { return left() >= 0; }
};

/// Pages that a request should have before its positions [0, upto) are computed: theirs, and beyond
/// them at least one page and 64 tokens, since a decoding group steps by itself until the next plan
/// arrives; never more than its worst case.
std::int64_t pages_to_grant(std::int64_t upto, std::int64_t worst_pages, std::int64_t page_tokens);

}  // namespace longspan
