#include "scheduler/placement.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::Optional;

constexpr std::array kGroup{0, 1, 2};

TEST(PlacementTest, SpreadDealsPagesInTurn) {
  EXPECT_THAT(place_pages(Retention::kSpread, kGroup, 5, {9, 9, 9}),
              Optional(ElementsAre(0, 1, 2, 0, 1)));
}

/// Tokens 1, 32, 33, ... of a sequence in pages of 32 on four ranks.
TEST(PlacementTest, ASpreadSequenceGrowsPageByPageOnEachRankInTurn) {
  constexpr std::array kFour{0, 1, 2, 3};
  const auto owners = place_pages(Retention::kSpread, kFour, 10, {9, 9, 9, 9});
  ASSERT_TRUE(owners);
  std::vector<int> of_tokens;
  for (int token : {1, 32, 33, 64, 65, 128, 129}) of_tokens.push_back(owners->at((token - 1) / 32));
  EXPECT_THAT(of_tokens, ElementsAre(0, 0, 1, 1, 2, 3, 0));
  std::array<int, 4> pages{};
  for (int owner : *owners) {
    ++pages[owner];
    EXPECT_LE(*std::ranges::max_element(pages) - *std::ranges::min_element(pages), 1);
  }
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
