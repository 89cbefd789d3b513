#include "runtime/model/block_offer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "comm/error.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

constexpr std::size_t kBytes = 10'000;
constexpr std::uint64_t kLayout = 77;
const Patience kPatience{.deadline = std::chrono::seconds(20)};

HostRanks all_ranks(Communicator& control) {
  std::vector<int> ranks(control.size());
  std::iota(ranks.begin(), ranks.end(), 0);
  return {control, ranks};
}

BlockMark marked(const BlockFile& file) {
  const BlockMark mark = BlockMark::fresh(kLayout);
  std::memcpy(file.map_writable().bytes().data(), &mark, sizeof(mark));
  return mark;
}

TEST(BlockOfferTest, FollowersGetTheFilledBlock) {
  for (int ranks : {1, 2, 3, 5}) {
    test::run_ranks(ranks, [](Communicator& control) {
      const HostRanks host = all_ranks(control);
      if (host.leads()) {
        BlockOffer offer(host, kPatience);
        const BlockFile file = BlockFile::memory(kBytes);
        EXPECT_TRUE(offer.offer(file, marked(file)));
        file.map_writable().bytes()[kBytes - 1] = std::byte{5};  // after they mapped it
        offer.ready();
      } else {
        const auto block = await_block(host, kBytes, kLayout, kPatience);
        ASSERT_TRUE(block);
        EXPECT_EQ(block->bytes()[kBytes - 1], std::byte{5});
      }
    });
  }
}

TEST(BlockOfferTest, TheLastOfferCounts) {
  test::run_ranks(3, [](Communicator& control) {
    const HostRanks host = all_ranks(control);
    if (host.leads()) {
      BlockOffer offer(host, kPatience);
      const BlockFile first = BlockFile::memory(kBytes);
      offer.offer(first, BlockMark::fresh(kLayout));  // not the mark in the block
      auto second = BlockFile::try_temporary(kBytes);
      EXPECT_TRUE(offer.offer(*second, marked(*second)));
      second->unlink();
      second->map_writable().bytes()[100] = std::byte{2};
      offer.ready();
    } else {
      const auto block = await_block(host, kBytes, kLayout, kPatience);
      EXPECT_TRUE(block && block->bytes()[100] == std::byte{2});
    }
  });
}

TEST(BlockOfferTest, AFollowerThatWouldLayItOutOtherwiseTakesNoBlock) {
  test::run_ranks(3, [](Communicator& control) {
    const HostRanks host = all_ranks(control);
    if (host.leads()) {
      BlockOffer offer(host, kPatience);
      const BlockFile file = BlockFile::memory(kBytes);
      EXPECT_FALSE(offer.offer(file, marked(file)));
      offer.ready();
    } else {
      const std::uint64_t layout = control.rank() == 1 ? kLayout : kLayout + 1;
      EXPECT_EQ(await_block(host, kBytes, layout, kPatience).has_value(), control.rank() == 1);
    }
  });
}

TEST(BlockOfferTest, TheLeadersFailureIsThrownByAll) {
  for (bool offers_first : {false, true}) {
    test::run_ranks(3, [&](Communicator& control) {
      const HostRanks host = all_ranks(control);
      if (host.leads()) {
        BlockOffer offer(host, kPatience);
        const BlockFile file = BlockFile::memory(kBytes);
        if (offers_first) offer.offer(file, marked(file));
        offer.failed(DataError("tensor x is bad"));
      } else {
        try {
          await_block(host, kBytes, kLayout, kPatience);
          ADD_FAILURE() << "nothing was thrown";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::kBadData);
          EXPECT_STREQ(error.what(), "tensor x is bad");
        }
      }
    });
  }
}

TEST(BlockOfferTest, AVeryLongMessageIsCutNotDropped) {
  test::run_ranks(2, [](Communicator& control) {
    const HostRanks host = all_ranks(control);
    if (host.leads()) {
      BlockOffer(host, kPatience).failed(IoError(std::string(5000, 'x')));
    } else {
      EXPECT_THAT([&] { await_block(host, kBytes, kLayout, kPatience); },
                  testing::ThrowsMessage<Error>(testing::StartsWith("xxxxxxxx")));
    }
  });
}

TEST(BlockOfferTest, SilenceEndsAtTheDeadline) {
  test::run_ranks(2, [](Communicator& control) {
    const HostRanks host = all_ranks(control);
    if (host.leads()) return;
    const Patience brief{.deadline = std::chrono::milliseconds(50)};
    EXPECT_THROW(await_block(host, kBytes, kLayout, brief), CommError);
  });
}

}  // namespace
}  // namespace longspan
