// Pages that go from one rank's pool to another's on streams of their own.
#include "runtime/memory/page_copies.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "comm/cpu/thread_communicator.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr std::chrono::milliseconds kPatience{10'000};

class PageCopiesTest : public testing::Test {
 protected:
  /// A rank, whose pages hold its number and theirs.
  struct Rank {
    Rank(ThreadWorld& world, int rank, std::chrono::milliseconds silence)
        : pool(device, {.heads = {.query_heads = 2, .kv_heads = 1, .head_dim = 16}, .layers = 3},
               4),
          lease(pool.lease()),
          copies(device, world.rank(rank), pool, silence) {
      for (int slot = 0; slot < pool.pages(); ++slot) {
        lease.claim(slot, {slot, 7});
        for (int layer = 0; layer < 3; ++layer) {
          std::ranges::fill(pool.piece(slot, layer), std::byte(rank * 100 + slot * 10 + layer));
        }
      }
    }
    bool holds(PageSlot slot, int first) const {
      for (int layer = 0; layer < 3; ++layer) {
        const auto is = [&](std::byte byte) { return byte == std::byte(first + layer); };
        if (!std::ranges::all_of(pool.piece(slot, layer), is)) return false;
      }
      return true;
    }

    CpuDevice device{1};
    KvPagePool pool;
    KvLease lease;
    PageCopies copies;
  };
};

TEST_F(PageCopiesTest, AllLayersComeInOrderAndNobodyWaitsForTheOther) {
  ThreadWorld world(2, kPatience);
  Rank first(world, 0, kPatience), second(world, 1, kPatience);
  first.copies.receive({0, 7}, 1);  // nobody has sent it
  first.copies.receive({2, 7}, 1);
  EXPECT_TRUE(first.copies.take_arrived().empty());
  EXPECT_TRUE(first.copies.expects_some());
  second.copies.send({3, 7}, 0);
  second.copies.send({1, 7}, 0);
  std::vector<PageSlot> came;
  while (first.copies.expects_some()) {
    first.copies.await_arrival(kPatience);
    for (const auto& [page, took] : first.copies.take_arrived()) {
      came.push_back(page.slot);
      EXPECT_EQ(took.count() > 0, page.slot == 2) << "what 0 waited for is not its time";
    }
  }
  EXPECT_THAT(came, testing::ElementsAre(0, 2));
  EXPECT_TRUE(first.holds(0, 130) && first.holds(2, 110));
  EXPECT_TRUE(first.holds(1, 10) && first.holds(3, 30)) << "as they were";
  EXPECT_TRUE(second.holds(3, 130)) << "the original stays";
}

TEST_F(PageCopiesTest, WhatDoesNotComeIsToldAsAFailureAndNotWaitedForForEver) {
  ThreadWorld world(2, kPatience);
  Rank first(world, 0, std::chrono::milliseconds(0));
  first.copies.receive({0, 7}, 1);
  world.leave(1);
  EXPECT_THROW(while (first.copies.take_arrived().empty()){}, CommError);
  EXPECT_THROW(first.copies.send({0, 6}, 1), std::logic_error) << "it holds something else";
}

}  // namespace
}  // namespace longspan
