// Which full pages a new request can have without computing them, and which of them go first.
//
//   (nothing) -- "You are" -- " a helpful" -- " bot. Hi"        a node: one content in its place,
//                        \                \-- " cat. Hi"        named by the hash of all up to
//                        there;
//                         \-- " an angry"                       a page or, copied, one per owner
//
// A page is in the tree only beneath one that is, so what has lost the page before it cannot be
// found and leaves as well. The tree knows hashes only; who hits compares the tokens.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "scheduler/eviction_order.h"
#include "scheduler/page_ref.h"

namespace longspan {

class PrefixIndex {
 public:
  explicit PrefixIndex(int owners) : idle_(owners) {}

  bool contains(const PageHash& hash) const { return nodes_.contains(hash); }
  /// Pages with this content, at most one an owner; none for an unknown one.
  std::span<const PageRef> pages(const PageHash& hash) const;
  /// The content before it, which is indexed too; all zero for first pages.
  PageHash parent(const PageHash& hash) const { return nodes_.at(hash).parent; }
  /// Whether `owner` has a page of this content.
  bool contains(const PageHash& hash, int owner) const;
  /// The longest chain that `hashes` begin with. Of copies the one whose owner comes first in
  /// `prefer`, else the first owner's.
  std::vector<PageRef> chain(std::span<const PageHash> hashes, std::span<const int> prefer) const;

  /// A page, busy, with new content, after what `parent` names (all zero: first). Throws
  /// std::logic_error for content that is there or hangs in the air.
  void add(const PageHash& hash, const PageHash& parent, PageRef page);
  /// One more page, busy, with content that is there. Throws std::logic_error when its owner has
  /// one.
  void add_copy(const PageHash& hash, PageRef page);
  /// Takes a page out. Returns all that cannot be found any more, the page itself first.
  std::vector<PageRef> remove(const PageHash& hash, PageRef page);

  /// The page may go when its memory is needed; busy, it may not.
  void set_idle(const PageHash& hash, PageRef page, std::uint64_t last_used);
  void set_busy(PageRef page) { idle_.remove(page); }
  bool is_idle(PageRef page) const { return idle_.class_of(page).has_value(); }
  /// How many idle pages `owner` has, and the one that goes first.
  std::int64_t idle(int owner) const { return idle_.size(owner); }
  std::optional<PageRef> first_to_go(int owner) const { return idle_.first(owner); }

  /// Pages in the tree.
  std::int64_t size() const;
  /// The first node that hangs in the air or is filed wrongly, in words.
  std::optional<std::string> check() const;

 private:
  struct Node {
    PageHash parent;
    std::vector<PageRef> pages;  // by owner
    std::set<PageHash> children;

    EvictionClass eviction_class() const;
  };

  Node& node(const PageHash& hash);
  /// Files the idle pages of a node anew, if it is there: it has won or lost a copy or a child.
  void refile(const PageHash& hash);
  /// Moves the node and all beneath it out of the tree, their pages to the end of `gone`.
  void cut(const PageHash& hash, std::vector<PageRef>& gone);

  std::map<PageHash, Node> nodes_;
  EvictionOrder idle_;
};

}  // namespace longspan
