#include "scheduler/prefix_choice.h"

#include <gmock/gmock.h>

#include <optional>
#include <vector>

#include "scheduler/policies/replicas.h"

namespace longspan {
namespace {

/// Two groups, of which the first has 40 positions of a prompt, behind which 10 of work are left.
struct Case {
  std::int64_t busy = 0;     // the first group's work before
  std::int64_t copying = 0;  // to the second
  std::int64_t own = 0;      // of the second, without
  int group = 0;
  PrefixWay way = PrefixWay::kNone;
};

PrefixChoice choose(const Case& given, const Policy& policy = Replicas()) {
  const std::vector<PrefixOffer> offers{
      {.group = 0, .outstanding = given.busy, .has = 40, .own = 10, .copies = std::nullopt},
      {.group = 2,
       .outstanding = 5,
       .has = 8,
       .own = given.own,
       .copies = PrefixOffer::Copies{.has = 40, .copying = given.copying, .own = 10}}};
  return choose_prefix(offers, policy);
}

TEST(PrefixChoiceTest, TheCheapestWayIsTaken) {
  using enum PrefixWay;
  for (const Case& given : {
           Case{.busy = 0, .copying = 0, .own = 50, .group = 0, .way = kJoin},
           {.busy = 5, .copying = 0, .own = 50, .group = 0, .way = kJoin},  // of equals the first
           {.busy = 6, .copying = 0, .own = 50, .group = 2, .way = kReplicate},
           {.busy = 24, .copying = 20, .own = 50, .group = 0, .way = kJoin},
           {.busy = 26, .copying = 20, .own = 50, .group = 2, .way = kReplicate},
           {.busy = 44, .copying = 40, .own = 50, .group = 0, .way = kJoin},
           {.busy = 46, .copying = 40, .own = 50, .group = 2, .way = kRecompute},  // of equal ways
           {.busy = 46, .copying = 39, .own = 50, .group = 2, .way = kReplicate},
           {.busy = 900, .copying = 800, .own = 50, .group = 2, .way = kRecompute},
           {.busy = 6, .copying = 0, .own = 10, .group = 2, .way = kRecompute},
       }) {
    SCOPED_TRACE(testing::Message() << given.busy << ", " << given.copying << ", " << given.own);
    EXPECT_EQ(choose(given).group, given.group);
    EXPECT_EQ(choose(given).way, given.way);
  }
}

TEST(PrefixChoiceTest, WhatNobodyMayCopyIsJoinedOrReadAgain) {
  std::vector<PrefixOffer> offers{{.group = 0, .has = 40, .own = 10, .copies = std::nullopt},
                                  {.group = 1, .own = 50, .copies = std::nullopt}};
  offers[0].outstanding = 40;
  EXPECT_EQ(choose_prefix(offers, Replicas()).way, PrefixWay::kJoin);
  offers[0].outstanding = 41;
  EXPECT_EQ(choose_prefix(offers, Replicas()).way, PrefixWay::kRecompute);
  offers[0].has = 0;
  EXPECT_EQ(choose_prefix(offers, Replicas()).way, PrefixWay::kNone) << "nobody has anything";
  EXPECT_EQ(choose_prefix(offers, Replicas()).group, 1);
}

// Which group it is to be is the policy's to say, whatever that costs; there the cheaper way is
// left.
TEST(PrefixChoiceTest, APolicyMayKeepARequestFromTheGroupThatHasItsPrefix) {
  struct Last final : StaticSp {
    Last() : StaticSp(1) {}
    int group_for(std::span<const GroupLoad> loads) const override { return loads.back().group; }
  };
  EXPECT_EQ(choose({.busy = 0, .copying = 20, .own = 50}, Last()).way, PrefixWay::kReplicate);
  EXPECT_EQ(choose({.busy = 0, .copying = 60, .own = 50}, Last()).way, PrefixWay::kRecompute);
}

}  // namespace
}  // namespace longspan
