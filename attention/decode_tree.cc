#include "attention/decode_tree.h"

#include <algorithm>

#include "comm/error.h"

namespace longspan {

TreePlace tree_place(const std::vector<int>& owners, int root, int rank) {
  const auto index = [&](int wanted) {
    const auto at = std::ranges::find(owners, wanted);
    expects(at != owners.end(), "the tree's root and the rank own keys of the row");
    return static_cast<int>(at - owners.begin());
  };
  const int self = index(rank);
  int begin = 0, end = static_cast<int>(owners.size()), speaker = index(root);
  TreePlace place;
  for (int level = 0; end - begin > 1; ++level) {
    const int middle = begin + (end - begin + 1) / 2;
    const bool before = speaker >= middle;  // the half without the speaker
    const int other = before ? middle - 1 : middle;
    if (self == speaker) place.children.push_back({owners[other], level, before});
    if (self == other) {
      place.parent = owners[speaker];
      place.level = level;
    }
    const bool left = self < middle;
    if (left == before) speaker = other;
    (left ? end : begin) = middle;
  }
  return place;
}

int tree_levels(int owners) {
  int levels = 0;
  while ((1 << levels) < owners) ++levels;
  return levels;
}

}  // namespace longspan
