// Which contents that left KV memory are kept in the tier below it, and where.
//
//   evicted --put--> kept --hold--> read --let_go--> kept
//                     |               |
//                     |               +--drop--> lost --last let_go--> empty
//                     +--used least recently, or dropped--> empty
//
// A place is named as a page is, by owner, slot and generation, but is one of the owner's tier: in
// host memory or on a disk, as the owner likes. Each keeps what was evicted from its own memory. A
// content is in one place at most; a hit leaves it there, so that its next eviction need not write
// it again. A place that is read is not given away, whatever becomes of its content meanwhile.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/page_ref.h"

namespace longspan {

class TierIndex {
 public:
  /// `places`: pages by owner; none for owners beyond it.
  explicit TierIndex(std::span<const std::int64_t> places);

  /// Where the content is; nothing for one that is not kept.
  std::optional<PageRef> find(const PageHash& hash) const;
  /// Where the contents are that `hashes` begin with, as far as they are kept.
  std::vector<PageRef> chain(std::span<const PageHash> hashes) const;

  /// A place of `owner` for a content that is not kept: an empty one, else that of the content used
  /// least recently, which is lost. Nothing where the owner has none that is not read.
  [[nodiscard]] std::optional<PageRef> put(const PageHash& hash, int owner);
  /// The content was used: it is the last to go.
  void touch(const PageHash& hash);

  /// Somebody begins to read a place, and is done with it. Throws std::logic_error for a place that
  /// keeps nothing, or that nobody reads.
  void hold(PageRef place);
  void let_go(PageRef place);
  /// The content is not there after all. False for a place that keeps it no more.
  bool drop(PageRef place);

  /// Contents kept, and places there are.
  std::int64_t kept(int owner) const;
  std::int64_t places(int owner) const;
  std::int64_t kept() const { return static_cast<std::int64_t>(by_hash_.size()); }

  /// The first content that is not where it should be, in words.
  std::optional<std::string> check() const;

 private:
  struct Place {
    PageHash hash;
    std::uint32_t generation = 0;
    std::int32_t readers = 0;
    bool keeps = false;  // `hash`; else it is empty, or lost and read
    std::uint64_t last_used = 0;
  };
  struct Pool {
    std::int64_t places = 0;
    std::int64_t kept = 0;
    std::vector<Place> used;          // by slot, those that ever were
    std::vector<std::int32_t> empty;  // of them
    /// Those that keep something and are not read, by last use.
    std::set<std::pair<std::uint64_t, std::int32_t>> order;
  };

  Place* current(PageRef place);
  std::optional<std::int32_t> empty_slot(int owner);
  void vacate(Pool& pool, std::int32_t slot);
  void forget(Pool& pool, Place& place, std::int32_t slot);

  std::vector<Pool> pools_;
  std::map<PageHash, PageRef> by_hash_;
  std::uint64_t uses_ = 0;
};

}  // namespace longspan
