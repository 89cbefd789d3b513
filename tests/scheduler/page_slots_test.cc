#include "scheduler/page_slots.h"

#include <gtest/gtest.h>

#include <array>
#include <stdexcept>

namespace longspan {
namespace {

using enum PageState;

class PageSlotsTest : public testing::Test {
 protected:
  void put(PageRef page, PageState state) {
    slots_.update(page, [&](Page& changed) {
      changed.state = state;
      changed.refs = state == kLive ? 1 : 0;
    });
  }

  PageSlots slots_{std::array<std::int64_t, 3>{2, 0, 1}};
};

TEST_F(PageSlotsTest, EverySlotIsTakenOnce) {
  const PageRef first = slots_.take(0), second = slots_.take(0);
  EXPECT_NE(first.slot, second.slot);
  EXPECT_EQ(slots_.room(0), 0);
  EXPECT_THROW((void)slots_.take(0), std::logic_error);
  EXPECT_THROW((void)slots_.take(1), std::logic_error) << "it has none";
  EXPECT_EQ(slots_.counts(0).at(kReserved), 2);
  EXPECT_EQ(slots_.total().at(kFree), 1);
  EXPECT_EQ(slots_.check(), std::nullopt);
}

TEST_F(PageSlotsTest, AFreedSlotIsAnotherPage) {
  const PageRef page = slots_.take(2);
  put(page, kFree);
  EXPECT_EQ(slots_.find(page), nullptr);
  EXPECT_THROW(put(page, kLive), std::logic_error);
  const PageRef next = slots_.take(2);
  EXPECT_EQ(next.slot, page.slot);
  EXPECT_EQ(next.generation, page.generation + 1);
  EXPECT_EQ(slots_.find(page), nullptr) << "whoever still means the old one is told so";
}

TEST_F(PageSlotsTest, WhatNamesNoSlotIsNoPage) {
  for (const PageRef ref : {PageRef{}, {3, 0, 0}, {1, 0, 0}, {0, 2, 0}, {0, -1, 0}, {0, 0, 0}}) {
    EXPECT_EQ(slots_.find(ref), nullptr) << in_words(ref);
  }
}

TEST_F(PageSlotsTest, OnlyTheStepsOfTheDrawingAreTaken) {
  const PageRef page = slots_.take(0);
  EXPECT_THROW(put(page, kRetired), std::logic_error) << "nobody reads it";
}

TEST_F(PageSlotsTest, APageGoesFromLiveOverCachedToRetired) {
  const PageRef page = slots_.take(0);
  for (const PageState state : {kLive, kCached, kLive, kRetired}) put(page, state);
  EXPECT_EQ(slots_.counts(0).pinned, 1) << "retired, and no move pays for it";
  EXPECT_EQ(slots_.counts(0).used(), 1);
  EXPECT_THROW(put(page, kLive), std::logic_error);
}

TEST_F(PageSlotsTest, ALivePageHasReferencesAndOthersHaveNone) {
  const PageRef page = slots_.take(0);
  EXPECT_THROW(slots_.update(page, [](Page& live) { live.state = kLive; }), std::logic_error);
}

TEST_F(PageSlotsTest, LostCapacityIsNotTakenFromWhatIsInUse) {
  const PageRef page = slots_.take(0);
  (void)slots_.take(0);
  slots_.set_capacity(0, 1);
  EXPECT_EQ(slots_.total_capacity(), 2);
  EXPECT_EQ(slots_.room(0), 0);
  EXPECT_EQ(slots_.check(), std::nullopt) << "it was more before";
  put(page, kFree);
  EXPECT_EQ(slots_.room(0), 0);
  slots_.set_capacity(0, 2);
  EXPECT_EQ(slots_.room(0), 1);
  EXPECT_THROW(slots_.set_capacity(0, 3), std::logic_error);
}

}  // namespace
}  // namespace longspan
