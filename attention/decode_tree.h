// The binary tree along which the partials of one decode row are merged (Tree Attention, arXiv
// 2408.04093, over unequal shards and point to point).
//
//   owners     0     1     2     3     4          the master is 3
//   range      [-------------)[--------)          level 0: 2 and 3 meet
//              [--------)[---)[---)[---)          level 1: 1 and 2; 4 and 3
//              [---)[---)                         level 2: 0 and 1
//
// A range of owners halves until one is left. Each range has a root that speaks for it: of the
// whole the master, of a half without the range's own root the owner at the border. Queries travel
// from root to root, level by level, and partials the other way: each root merges the two halves of
// its ranges in rank order. Which halves there are depends on the number of owners alone, hence so
// do the bits of the result.
#pragma once

#include <vector>

namespace longspan {

/// One owner's place in the tree of a row. Ranks are indices of the group.
struct TreePlace {
  /// A half that this owner speaks with the root of: it sends it the query and gets its partial.
  struct Child {
    int rank;
    int level;
    bool before;  // in rank order
  };
  std::vector<Child> children;  // by level, the outermost first
  int parent = -1;              // who sends it the query and gets its partial; the master has none
  int level = -1;               // at which
};

/// `owners` ascending, `root` and `rank` among them.
TreePlace tree_place(const std::vector<int>& owners, int root, int rank);

/// Levels of the tree over `owners` owners: the logarithm to base 2, rounded up.
int tree_levels(int owners);

}  // namespace longspan
