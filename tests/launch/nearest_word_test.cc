#include "launch/nearest_word.h"

#include <gtest/gtest.h>

#include <vector>

namespace longspan {
namespace {

TEST(EditDistanceTest, CountsInsertionsDeletionsSubstitutionsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("degree", "degree"), 0);
  EXPECT_EQ(edit_distance("degre", "degree"), 1);
  EXPECT_EQ(edit_distance("dgeree", "degree"), 1);  // a swap is one edit
  EXPECT_EQ(edit_distance("layuot", "layout"), 1);
  EXPECT_EQ(edit_distance("ca", "abc"), 3);  // no letter is edited twice
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
}

TEST(NearestWordTest, TakesTheNearestAndTheEarlierOfTwo) {
  const std::vector<std::string> words = {"prompt", "prompts", "page-tokens"};
  EXPECT_EQ(nearest_word("promt", words), "prompt");
  EXPECT_EQ(nearest_word("promptss", words), "prompts");
  EXPECT_EQ(nearest_word("prompx", words), "prompt");
}

TEST(NearestWordTest, LongWordsMayDifferInAThirdOfTheirLetters) {
  const std::vector<std::string> words = {"compare-degrees"};  // 15 letters: 5 edits
  EXPECT_EQ(nearest_word("compare-deg", words), "compare-degrees");
  EXPECT_EQ(nearest_word("compare-d", words), std::nullopt);
}

TEST(NearestWordTest, SaysNothingWhenNoWordIsNear) {
  const std::vector<std::string> words = {"on", "off"};
  EXPECT_EQ(nearest_word("x", words), std::nullopt);  // two edits, but no letter in common
  EXPECT_EQ(nearest_word("temperature", words), std::nullopt);
  EXPECT_EQ(nearest_word("anything", {}), std::nullopt);
}

}  // namespace
}  // namespace longspan
