#include "scheduler/policies/policy.h"

#include <gmock/gmock.h>

#include <stdexcept>
#include <vector>

namespace longspan {
namespace {

using testing::ElementsAre;

TEST(PolicyTest, GroupsAreNeighboursAndWhoIsLeftOverIdles) {
  EXPECT_THAT(make_policy(PolicyKind::kStaticSp, 2)->groups(5),
              ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  EXPECT_THAT(make_policy(PolicyKind::kStaticSp, 3)->groups(3), ElementsAre(ElementsAre(0, 1, 2)));
  EXPECT_THAT(make_policy(PolicyKind::kReplicas, 1)->groups(2),
              ElementsAre(ElementsAre(0), ElementsAre(1)));
  EXPECT_THAT(make_policy(PolicyKind::kChunkedPrefill, 1)->groups(3),
              ElementsAre(ElementsAre(0, 1, 2)));
  EXPECT_THROW(make_policy(PolicyKind::kStaticSp, 3)->groups(2), std::logic_error);
}

TEST(PolicyTest, ARequestGoesWhereAllIsDoneSoonestAndOfEqualsToTheFirst) {
  const auto policy = make_policy(PolicyKind::kStaticSp, 1);
  const auto chosen = [&](std::vector<GroupLoad> loads) { return policy->group_for(loads); };
  EXPECT_EQ(chosen({{0, 10, 5}, {1, 9, 5}, {2, 9, 5}}), 1);
  EXPECT_EQ(chosen({{0, 10, 5}, {1, 12, 2}}), 1) << "it has a part of it";
  EXPECT_EQ(chosen({{0, 10, 5}, {1, 14, 1}}), 0) << "which saves less than waiting costs";
  EXPECT_EQ(chosen({{1, 14, 1}, {3, 2, 20}}), 1);
}

TEST(PolicyTest, OnlyChunkedPrefillFillsABudget) {
  for (const PolicyKind kind : kPolicies) {
    const bool fills = make_policy(kind, 1)->filling() == Filling::kFirstCome;
    EXPECT_EQ(fills, kind == PolicyKind::kChunkedPrefill) << name(kind);
  }
}

}  // namespace
}  // namespace longspan
