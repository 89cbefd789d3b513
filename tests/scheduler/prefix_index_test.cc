#include "scheduler/prefix_index.h"

#include <gmock/gmock.h>

#include <array>
#include <stdexcept>

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr PageHash kRoot{};
constexpr PageHash kA{0, 1}, kAB{0, 2}, kABC{0, 3}, kAD{0, 4};

constexpr PageRef page(int owner, int slot) { return {owner, slot, 0}; }

/// A -- B -- C, and A -- D, on owners 0, 1, 0 and 1.
class PrefixIndexTest : public testing::Test {
 protected:
  PrefixIndexTest() {
    index_.add(kA, kRoot, page(0, 0));
    index_.add(kAB, kA, page(1, 1));
    index_.add(kABC, kAB, page(0, 2));
    index_.add(kAD, kA, page(1, 3));
  }
  ~PrefixIndexTest() override { EXPECT_EQ(index_.check(), std::nullopt); }

  PrefixIndex index_{2};
};

TEST_F(PrefixIndexTest, AChainIsFoundAsFarAsItGoes) {
  EXPECT_THAT(index_.chain(std::array{kA, kAB, kABC}, {}),
              ElementsAre(page(0, 0), page(1, 1), page(0, 2)));
  EXPECT_THAT(index_.chain(std::array{kA, kAD, kABC}, {}), ElementsAre(page(0, 0), page(1, 3)));
  EXPECT_THAT(index_.chain(std::array{kAB, kABC}, {}), IsEmpty());
  EXPECT_THAT(index_.chain({}, {}), IsEmpty());
}

TEST_F(PrefixIndexTest, ContentIsThereOnceAndNeverInTheAir) {
  EXPECT_THROW(index_.add(kA, kRoot, page(1, 0)), std::logic_error);
  EXPECT_THROW(index_.add(kRoot, kRoot, page(1, 0)), std::logic_error);
  EXPECT_THROW(index_.add({0, 9}, {0, 8}, page(1, 0)), std::logic_error);
  EXPECT_EQ(index_.size(), 4);
}

TEST_F(PrefixIndexTest, OfCopiesThePreferredOneIsFoundElseTheFirstOwners) {
  index_.add_copy(kAB, page(0, 9));
  constexpr std::array kFirst{0, 1}, kSecond{1, 0};
  EXPECT_EQ(index_.chain(std::array{kA, kAB}, kFirst)[1], page(0, 9));
  EXPECT_EQ(index_.chain(std::array{kA, kAB}, kSecond)[1], page(1, 1));
  EXPECT_EQ(index_.chain(std::array{kA, kAB}, {})[1], page(0, 9));
  EXPECT_THROW(index_.add_copy(kAB, page(1, 9)), std::logic_error) << "one an owner";
}

TEST_F(PrefixIndexTest, WithTheLastPageOfAContentGoesWhatFollowsIt) {
  index_.add_copy(kA, page(1, 7));
  EXPECT_THAT(index_.remove(kA, page(0, 0)), ElementsAre(page(0, 0))) << "the copy is left";
  const auto gone = index_.remove(kA, page(1, 7));
  EXPECT_EQ(gone.front(), page(1, 7));
  EXPECT_THAT(gone, UnorderedElementsAre(page(1, 7), page(1, 1), page(0, 2), page(1, 3)));
  EXPECT_EQ(index_.size(), 0);
}

TEST_F(PrefixIndexTest, LeavesGoBeforeWhatTheyFollowWhateverWasUsedLast) {
  index_.set_idle(kA, page(0, 0), 1);
  index_.set_idle(kABC, page(0, 2), 9);
  EXPECT_EQ(index_.first_to_go(0), page(0, 2));
  index_.set_idle(kAB, page(1, 1), 5);
  index_.set_idle(kAD, page(1, 3), 6);
  EXPECT_EQ(index_.first_to_go(1), page(1, 3)) << "C follows B";
  (void)index_.remove(kABC, page(0, 2));
  EXPECT_EQ(index_.first_to_go(1), page(1, 1)) << "nothing follows B now, and it was used earlier";
}

TEST_F(PrefixIndexTest, CopiesGoFirst) {
  index_.set_idle(kAB, page(1, 1), 9);
  index_.set_idle(kAD, page(1, 3), 1);
  EXPECT_EQ(index_.first_to_go(1), page(1, 3));
  index_.add_copy(kAB, page(0, 9));
  EXPECT_EQ(index_.first_to_go(1), page(1, 1));
  (void)index_.remove(kAB, page(0, 9));
  EXPECT_EQ(index_.first_to_go(1), page(1, 3));
}

TEST_F(PrefixIndexTest, ABusyPageDoesNotGo) {
  index_.set_idle(kAD, page(1, 3), 1);
  EXPECT_EQ(index_.idle(1), 1);
  index_.set_busy(page(1, 3));
  EXPECT_EQ(index_.first_to_go(1), std::nullopt);
  index_.set_busy(page(1, 3));
  EXPECT_EQ(index_.idle(1), 0);
}

}  // namespace
}  // namespace longspan
