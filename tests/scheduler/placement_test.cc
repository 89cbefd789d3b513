#include "scheduler/placement.h"

#include <gmock/gmock.h>

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::Optional;

constexpr std::array kGroup{0, 1, 2};

TEST(PlacementTest, SpreadDealsPagesInTurn) {
  EXPECT_THAT(place_pages(Retention::kSpread, kGroup, 5, {9, 9, 9}),
              Optional(ElementsAre(0, 1, 2, 0, 1)));
}

TEST(PlacementTest, SpreadRefusesWhenARanksTurnFindsItFull) {
  EXPECT_EQ(place_pages(Retention::kSpread, kGroup, 5, {9, 1, 9}), std::nullopt);
}

TEST(PlacementTest, FewestTakesOneRankWhenOneIsEnough) {
  EXPECT_THAT(place_pages(Retention::kFewest, kGroup, 3, {2, 3, 3}),
              Optional(ElementsAre(1, 1, 1)));
}

TEST(PlacementTest, FewestFillsTheEmptiestRanksFirst) {
  EXPECT_THAT(place_pages(Retention::kFewest, kGroup, 5, {1, 2, 3}),
              Optional(ElementsAre(2, 2, 2, 1, 1)));
}

TEST(PlacementTest, FewestRefusesMoreThanTheGroupHas) {
  EXPECT_EQ(place_pages(Retention::kFewest, kGroup, 7, {1, 2, 3}), std::nullopt);
}

TEST(PlacementTest, NoPagesNeedNoRank) {
  EXPECT_THAT(place_pages(Retention::kSpread, kGroup, 0, {0, 0, 0}), Optional(ElementsAre()));
  EXPECT_THAT(place_pages(Retention::kFewest, kGroup, 0, {0, 0, 0}), Optional(ElementsAre()));
}

TEST(PlacementTest, NamesAreTheOnesOfTheFlag) {
  EXPECT_EQ(parse_retention("spread"), Retention::kSpread);
  EXPECT_EQ(parse_retention("fewest"), Retention::kFewest);
  EXPECT_EQ(parse_retention("Spread"), std::nullopt);
}

}  // namespace
}  // namespace longspan
