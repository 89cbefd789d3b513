#include "runtime/memory/page_table.h"

#include <gmock/gmock.h>

#include <stdexcept>

#include "comm/cpu/cpu_device.h"

namespace longspan {
namespace {

using testing::ElementsAre;

class PageTableTest : public testing::Test {
 protected:
  CpuDevice device_{1};
  KvPagePool pool_{device_, {.heads = {1, 1, 16}, .layers = 1, .page_tokens = 4}, 3};
  PageTable table_{pool_, 1};

  /// Pages of the sequence, in slots 0, 1, ... of an empty pool.
  void place(std::initializer_list<std::int64_t> pages) {
    for (PageSlot slot = 0; const std::int64_t page : pages) table_.place(page, {slot++, 0});
  }
};

TEST_F(PageTableTest, PagesAreOpenedWhenTheSequenceReachesThem) {
  table_.promise({0, 1, 1, 0, 1});
  table_.open(4);
  EXPECT_TRUE(table_.slots().empty());
  EXPECT_THAT(table_.owners(), ElementsAre(0));
  table_.place(1, {2, 0});
  table_.open(5);
  EXPECT_THAT(table_.slots(), ElementsAre(2));
  table_.open(5);
  EXPECT_THAT(table_.owners(), ElementsAre(0, 1));
}

// Whoever reads it sees those that it has reached.
TEST_F(PageTableTest, APageMayBeThereBeforeTheSequence) {
  table_.promise({1, 0, 1});
  place({0, 2});
  EXPECT_TRUE(table_.slots().empty());
  table_.open(8);
  EXPECT_THAT(table_.slots(), ElementsAre(0));
  table_.open(9);
  EXPECT_THAT(table_.slots(), ElementsAre(0, 1));
  PageTable other(pool_, 1);
  other.promise({0, 1});
  EXPECT_THROW(other.place(0, {2, 0}), std::logic_error) << "another rank's";
}

TEST_F(PageTableTest, ASequenceHasATailFromTheFirstPromiseToItsEnd) {
  KvPagePool tails(device_, {.heads = {1, 1, 16}, .layers = 1, .page_tokens = 4}, 2);
  {
    PageTable first(pool_, 1, &tails), second(pool_, 1, &tails), third(pool_, 1, &tails);
    EXPECT_EQ(tails.used(), 0);
    first.promise({0});
    second.promise({1});
    EXPECT_NE(first.tail(), second.tail());
    EXPECT_THROW(third.promise({1}), std::logic_error);
  }
  EXPECT_EQ(tails.used(), 0);
}

TEST_F(PageTableTest, ARankThatSatOutSomeStepsCatchesUp) {
  table_.promise({0, 1, 1, 0, 1, 0, 0, 1});
  place({1, 2, 4});
  table_.open(28);
  EXPECT_EQ(table_.owners().size(), 7u);
  EXPECT_EQ(table_.slots().size(), 3u);
}

TEST_F(PageTableTest, ASequenceBeginsWithPagesThatAnotherFilled) {
  {
    PageTable other(pool_, 1);
    other.place(0, {2, 0});
    other.place(1, {0, 0});
  }
  table_.promise({1, 1, 0, 1});
  table_.place(0, {2, 0}, true);
  table_.place(1, {0, 0}, true);
  table_.place(3, {1, 0});
  table_.open(16);
  EXPECT_THAT(table_.slots(), ElementsAre(2, 0, 1));
  PageTable late(pool_, 1);
  EXPECT_THROW(late.place(0, {1, 1}, true), std::logic_error) << "it holds something else";
}

TEST_F(PageTableTest, PagesThatNobodyHasMayGetOtherOwners) {
  table_.promise({0, 1, 0, 0, 0});
  table_.place(1, {2, 0});
  table_.open(8);
  table_.promise({1, 0, 1}, 2);
  table_.place(2, {0, 0});
  table_.open(12);
  table_.promise({1, 0}, 3);
  table_.place(3, {1, 0});
  EXPECT_THROW(table_.promise({0, 0}, 3), std::logic_error) << "this rank has it";
  table_.open(20);
  EXPECT_THAT(table_.owners(), ElementsAre(0, 1, 1, 1, 0));
  EXPECT_THAT(table_.slots(), ElementsAre(2, 0, 1));
  EXPECT_THROW(table_.promise({0}, 4), std::logic_error) << "it is open";
  EXPECT_THROW(table_.promise({0}, 6), std::logic_error) << "page 5 would have no owner";
}

TEST_F(PageTableTest, AMovedPageTakesItsPlaceAmongTheRanksOwn) {
  table_.promise({0, 1, 1, 0, 1});
  place({1, 2});
  table_.open(16);
  EXPECT_TRUE(table_.move(0, 1, {2, 0}).slots().empty());
  EXPECT_THAT(table_.owners(), ElementsAre(1, 1, 1, 0));
  EXPECT_THAT(table_.slots(), ElementsAre(2, 0, 1));
  EXPECT_EQ(table_.slot(1), 0);
  {
    const KvLease leaving = table_.move(1, 2, {7, 7});
    EXPECT_THAT(leaving.slots(), ElementsAre(0));
    EXPECT_EQ(pool_.used(), 3) << "the contents have not left";
  }
  EXPECT_EQ(pool_.used(), 2);
  EXPECT_THAT(table_.slots(), ElementsAre(2, 1));
  EXPECT_TRUE(table_.move(3, 3, {7, 7}).slots().empty());  // between two others
  EXPECT_THAT(table_.owners(), ElementsAre(1, 2, 1, 3));
  table_.place(4, {0, 1});
  table_.open(20);
  EXPECT_THAT(table_.slots(), ElementsAre(2, 1, 0));
}

TEST_F(PageTableTest, AMoveToWhereSomethingLiesIsTheCallersMistake) {
  table_.promise({1, 1, 1, 0});
  place({0, 1, 2});
  table_.open(16);
  EXPECT_THROW((void)table_.move(3, 1, {1, 1}), std::logic_error);
  EXPECT_THROW((void)table_.move(4, 1, {1, 1}), std::logic_error);
}

TEST_F(PageTableTest, PagesWithoutAPromiseOrAPlaceAreTheCallersMistake) {
  EXPECT_THROW(table_.open(1), std::logic_error);
  table_.promise({1, 1, 0, 1});
  place({0});
  table_.open(4);
  EXPECT_THROW(table_.open(8), std::logic_error) << "page 1 was not placed";
  EXPECT_THROW(table_.place(0, {1, 0}), std::logic_error) << "twice";
  EXPECT_THROW(table_.place(1, {0, 1}), std::logic_error) << "in use";
}

}  // namespace
}  // namespace longspan
