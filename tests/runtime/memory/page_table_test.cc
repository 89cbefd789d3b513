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
};

TEST_F(PageTableTest, PagesAreLeasedByTheirOwnerWhenTheSequenceReachesThem) {
  table_.promise({0, 1, 1, 0, 1});
  table_.open(4);
  EXPECT_TRUE(table_.slots().empty());
  EXPECT_THAT(table_.owners(), ElementsAre(0));
  table_.open(5);
  EXPECT_EQ(table_.slots().size(), 1u);
  table_.open(5);
  EXPECT_EQ(table_.slots().size(), 1u);
  EXPECT_THAT(table_.owners(), ElementsAre(0, 1));
}

TEST_F(PageTableTest, ASequenceHasATailFromTheFirstPromiseToItsEnd) {
  KvPagePool tails(device_, {.heads = {1, 1, 16}, .layers = 1, .page_tokens = 4}, 2);
  {
    PageTable first(pool_, 1, &tails), second(pool_, 1, &tails), third(pool_, 1, &tails);
    EXPECT_EQ(tails.free_pages(), 2);
    first.promise({0});
    second.promise({1});
    EXPECT_NE(first.tail(), second.tail());
    EXPECT_THROW(third.promise({1}), std::logic_error);
  }
  EXPECT_EQ(tails.free_pages(), 2);
}

TEST_F(PageTableTest, ARankThatSatOutSomeStepsCatchesUp) {
  table_.promise({0, 1, 1, 0, 1});
  table_.open(17);
  EXPECT_EQ(table_.slots().size(), 3u);
}

TEST_F(PageTableTest, AMovedPageTakesItsPlaceAmongTheRanksOwn) {
  table_.promise({0, 1, 1, 0, 1});
  table_.open(16);
  const PageSlot one = table_.slot(1), two = table_.slot(2);
  EXPECT_TRUE(table_.move(0, 1).slots().empty());
  EXPECT_THAT(table_.owners(), ElementsAre(1, 1, 1, 0));
  EXPECT_THAT(table_.slots(), ElementsAre(table_.slot(0), one, two));
  {
    const KvLease leaving = table_.move(1, 2);
    EXPECT_THAT(leaving.slots(), ElementsAre(one));
    EXPECT_EQ(pool_.free_pages(), 0) << "the contents have not left";
  }
  EXPECT_EQ(pool_.free_pages(), 1);
  EXPECT_THAT(table_.slots(), ElementsAre(table_.slot(0), two));
  EXPECT_TRUE(table_.move(3, 3).slots().empty());  // between two others
  EXPECT_THAT(table_.owners(), ElementsAre(1, 2, 1, 3));
  table_.open(20);
  EXPECT_EQ(table_.slots().size(), 3u);
}

TEST_F(PageTableTest, AMoveWithoutMemoryIsTheCallersMistake) {
  table_.promise({1, 1, 1, 0});
  table_.open(16);
  EXPECT_THROW((void)table_.move(3, 1), std::logic_error);
  EXPECT_THROW((void)table_.move(4, 1), std::logic_error);
}

TEST_F(PageTableTest, PagesWithoutAPromiseOrWithoutMemoryAreTheCallersMistake) {
  EXPECT_THROW(table_.open(1), std::logic_error);
  table_.promise({1, 1, 1, 1});
  EXPECT_THROW(table_.open(16), std::logic_error);
}

}  // namespace
}  // namespace longspan
