#include "attention/decode_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>

namespace longspan {
namespace {

/// Owners 1, 3, 5, ...: not their own indices.
std::vector<int> odd_owners(int count) {
  std::vector<int> owners(count);
  for (int i = 0; i < count; ++i) owners[i] = 2 * i + 1;
  return owners;
}

/// What `rank` has merged at the end of the way up, as a text that shows the grouping.
std::string merged(const std::vector<int>& owners, int root, int rank) {
  std::string text = std::to_string(rank);
  const TreePlace place = tree_place(owners, root, rank);
  for (auto child = place.children.rbegin(); child != place.children.rend(); ++child) {
    const std::string other = merged(owners, root, child->rank);
    text = child->before ? "(" + other + " " + text + ")" : "(" + text + " " + other + ")";
  }
  return text;
}

TEST(DecodeTreeTest, GroupingDependsOnTheNumberOfOwnersAlone) {
  for (int count = 1; count <= 17; ++count) {
    const std::vector<int> owners = odd_owners(count);
    for (int root : owners) EXPECT_EQ(merged(owners, root, root), merged(owners, 1, 1));
  }
  EXPECT_EQ(merged({0, 1, 2, 3, 4}, 3, 3), "(((0 1) 2) (3 4))");
  EXPECT_EQ(merged({4, 7}, 7, 7), "(4 7)");
  EXPECT_EQ(merged({6}, 6, 6), "6");
}

TEST(DecodeTreeTest, EveryOwnerButTheRootHasOneParentThatKnowsIt) {
  for (int count = 1; count <= 17; ++count) {
    const std::vector<int> owners = odd_owners(count);
    for (int root : owners) {
      for (int rank : owners) {
        const TreePlace place = tree_place(owners, root, rank);
        EXPECT_EQ(place.parent < 0, rank == root);
        if (rank == root) continue;
        int found = 0;
        for (const TreePlace::Child& child : tree_place(owners, root, place.parent).children) {
          if (child.rank != rank) continue;
          ++found;
          EXPECT_EQ(child.level, place.level);
          EXPECT_EQ(child.before, rank < place.parent);
        }
        EXPECT_EQ(found, 1) << rank << " of " << count << ", root " << root;
      }
    }
  }
}

TEST(DecodeTreeTest, QueriesComeDownBeforeTheyGoOnAndLevelsAreLogarithmic) {
  for (int count = 1; count <= 17; ++count) {
    const std::vector<int> owners = odd_owners(count);
    for (int root : owners) {
      for (int rank : owners) {
        const TreePlace place = tree_place(owners, root, rank);
        int level = place.level;
        for (const TreePlace::Child& child : place.children) {
          EXPECT_GT(child.level, level);
          level = child.level;
        }
        EXPECT_LT(level, tree_levels(count));
      }
    }
  }
  for (auto [owners, levels] : {std::pair{1, 0}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {8, 3}, {9, 4}}) {
    EXPECT_EQ(tree_levels(owners), levels);
  }
}

TEST(DecodeTreeTest, OwnersAloneHaveAPlace) {
  EXPECT_THROW(tree_place({0, 2}, 0, 1), std::logic_error);
  EXPECT_THROW(tree_place({0, 2}, 1, 0), std::logic_error);
}

}  // namespace
}  // namespace longspan
