#include "launch/answer_comparison.h"

#include <gtest/gtest.h>

namespace longspan {
namespace {

Answer answer(std::initializer_list<TokenId> ids, double margin = 1) {
  Answer answer;
  for (TokenId id : ids) answer.tokens.push_back({{id, 0}, {}, margin});
  answer.last_margin = margin;
  return answer;
}

TEST(AnswerComparisonTest, TheFirstTokenThatDiffersIsFound) {
  EXPECT_FALSE(first_difference(answer({}), answer({})));
  EXPECT_FALSE(first_difference(answer({1, 2}, 1e-9), answer({1, 2})));
  EXPECT_EQ(first_difference(answer({1, 2, 3}), answer({1, 4, 3}))->token, 1u);
  EXPECT_EQ(first_difference(answer({1, 2, 3}), answer({1, 2}))->token, 2u);
  EXPECT_EQ(first_difference(answer({}), answer({5}))->token, 0u);
}

TEST(AnswerComparisonTest, ADifferenceIsAllowedAtABorderAlone) {
  EXPECT_FALSE(first_difference(answer({1}), answer({2}))->allowed());
  EXPECT_FALSE(first_difference(answer({1}, 1e-4), answer({2}, 1e-4))->allowed());
  EXPECT_TRUE(first_difference(answer({1}, 1e-6), answer({2}, 1e-4))->allowed());
  EXPECT_TRUE(first_difference(answer({1}, 1e-4), answer({2}, 1e-6))->allowed());
  EXPECT_TRUE(first_difference(answer({1}), answer({1, 2}, 1e-6))->allowed());
  EXPECT_TRUE(first_difference(answer({1}, 1e-6), answer({1, 2}))->allowed());
}

}  // namespace
}  // namespace longspan
