// Which keys a query may see, by position. A model says it layer by layer.
//
//   causal       its own key and every one before it
//   window W     the last W of those, its own included (Hugging Face's meaning)
//   full         every key there is
//
// Nobody sees keys that do not exist yet: a row of a prompt's chunk under a full mask sees what is
// cached and the whole chunk, whichever ranks compute it, and a decode row its own key and all
// before.
//
// Where somebody asked for approximate attention (approximation.h) a causal layer has one of these
// instead. A is the anchor, the first keys of the sequence; rows from position E on see all keys up
// to their own.
//
//   sinks A, W       the first A keys and the last W
//   blocks A, B, E   the first A keys, and those of the row's own block of B
//   passing A, B, E  the same, and of each block between them the keys that a KeyChoice names
//   chosen           of all keys up to its own those that a KeyChoice names
//
// The keys that a row sees of the first three lie in two or three places, so such a mask is the
// union of parts() that have no key in common; segments have one part each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "attention/shard_layout.h"
#include "comm/error.h"

namespace longspan {

/// In tokens, from the beginning of the sequence.
struct BlockMask {
  std::int64_t anchor = 0;
  std::int64_t block = 1;
  std::int64_t exact_from = 0;  // rows from here on see everything
};

class Mask {
 public:
  static constexpr Mask causal() { return {}; }
  /// `keys` >= 1.
  static Mask window(std::int64_t keys) { return sinks(0, keys); }
  static constexpr Mask full() {
    Mask mask;
    mask.full_ = true;
    return mask;
  }
  /// `keys` >= 1.
  static Mask sinks(std::int64_t anchor, std::int64_t keys) {
    expects(keys >= 1, "a window holds the query's own key");
    expects(anchor >= 0, "an anchor has a length");
    Mask mask;
    mask.anchor_ = anchor;
    mask.keys_ = keys;
    return mask;
  }
  static Mask blocks(const BlockMask& blocks) {
    expects(blocks.anchor >= 0 && blocks.block >= 1, "blocks and anchors have a length");
    Mask mask;
    mask.anchor_ = blocks.anchor;
    mask.block_ = blocks.block;
    mask.exact_from_ = blocks.exact_from;
    return mask;
  }
  static Mask passing(const BlockMask& blocks) {
    Mask mask = Mask::blocks(blocks);
    mask.passes_ = true;
    return mask;
  }
  static constexpr Mask chosen() {
    Mask mask;
    mask.chosen_ = true;
    return mask;
  }

  constexpr bool is_full() const { return full_; }
  constexpr bool is_windowed() const { return keys_ != kEverything; }
  constexpr bool has_blocks() const { return block_ != kEverything; }
  /// Whether a row sees every key before it, so that nobody need look at positions far behind.
  constexpr bool sees_all_before() const { return !is_windowed() && !has_blocks() && !chosen_; }
  /// Whether a KeyChoice has a say in it.
  constexpr bool needs_choice() const { return chosen_ || passes_; }
  /// Keys that a query sees at most, up to its own; of a windowed mask.
  constexpr std::int64_t keys() const { return keys_; }
  constexpr std::int64_t anchor() const { return anchor_; }

  /// Masks under which a row sees neighbours, no key twice; in order of position.
  std::vector<Mask> parts() const {
    if (is_one_part()) return {*this};
    std::vector<Mask> out;
    if (anchor_ > 0) out.push_back(part(Part::kAnchor));
    if (passes_) out.push_back(part(Part::kBetween));
    out.push_back(part(Part::kNear));
    return out;
  }
  /// Whether it is a part, or has only one.
  constexpr bool is_one_part() const { return part_ != Part::kAll || (anchor_ == 0 && !passes_); }
  constexpr bool is_anchor() const { return part_ == Part::kAnchor; }
  /// Whether it is what lies between anchor and own block.
  constexpr bool is_between() const { return part_ == Part::kBetween; }

  /// The first position that a query at `query` sees but for anchor and passing keys: of its
  /// window, its block, or all. It falls at most once as queries go on, to 0 and for good.
  constexpr std::int64_t near_from(std::int64_t query) const {
    if (is_windowed() && query >= keys_) return query - keys_ + 1;
    return has_blocks() && query < exact_from_ ? query / block_ * block_ : 0;
  }
  /// The next query behind `query` whose near_from() may be another; not of a windowed mask.
  constexpr std::int64_t near_until(std::int64_t query) const {
    if (!has_blocks() || query >= exact_from_) return kEverything;
    return std::min((query / block_ + 1) * block_, exact_from_);
  }
  /// The positions that a query at `query` sees under a mask of one part; not for full masks, which
  /// have no bounds.
  constexpr Interval seen(std::int64_t query) const { return seen(query, query); }
  /// Around all that some query from `first` to `last` sees, of one part.
  constexpr Interval seen(std::int64_t first, std::int64_t last) const {
    if (part_ == Part::kAnchor) return {0, std::min(anchor_, last + 1)};
    if (part_ == Part::kBetween) {
      const bool end_begins = first < exact_from_ && last >= exact_from_;
      const std::int64_t far = near_from(end_begins ? exact_from_ - 1 : last);
      return {std::min(anchor_, far), far};
    }
    const std::int64_t near = std::max(anchor_, std::min(near_from(first), near_from(last)));
    return {std::min(near, last + 1), last + 1};
  }

  constexpr bool operator==(const Mask&) const = default;

 private:
  enum class Part : std::uint8_t { kAll, kAnchor, kBetween, kNear };
  static constexpr std::int64_t kEverything = std::numeric_limits<std::int64_t>::max();

  constexpr Mask() = default;

  Mask part(Part which) const {
    Mask mask = *this;
    mask.part_ = which;
    mask.passes_ = false;
    mask.chosen_ = which == Part::kBetween;
    return mask;
  }

  std::int64_t keys_ = kEverything;  // at most, up to the query's own
  std::int64_t anchor_ = 0;
  std::int64_t block_ = kEverything;
  std::int64_t exact_from_ = 0;
  bool full_ = false;
  bool chosen_ = false;  // all that it shows is up to a KeyChoice
  bool passes_ = false;  // what lies between anchor and block is
  Part part_ = Part::kAll;
};

/// The positions below `end` that some row of `rows`, which lie at or behind `end` - 1, sees: in
/// order, each once, no two intervals touching. Without rows, those that one at rows.begin would.
std::vector<Interval> seen_by_some(const Mask& mask, Interval rows, std::int64_t end);

}  // namespace longspan
