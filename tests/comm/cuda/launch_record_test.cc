#include "comm/cuda/launch_record.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <numeric>
#include <vector>

#include "comm/error.h"

namespace longspan {
namespace {

struct Padded {
  char small;
  double large;
};

class LaunchRecordTest : public testing::Test {
 protected:
  /// Where the device would find what lies there on the host.
  std::size_t place_of(const void* there) const {
    return static_cast<std::size_t>(static_cast<const std::byte*>(there) - device_.data());
  }
  template <typename T>
  std::size_t describe(const std::vector<T>& values) {
    const std::size_t place = place_of(record_.describe(values.data(), values.size() * sizeof(T)));
    EXPECT_EQ(std::memcmp(host_.data() + place, values.data(), values.size() * sizeof(T)), 0);
    return place;
  }

  std::array<std::byte, 4096> host_{}, device_{};
  LaunchRecord record_{host_, device_};
};

TEST_F(LaunchRecordTest, EqualLaunchesHaveEqualDigestsAndNoOthersDo) {
  const auto digest = [&](auto... values) {
    record_.begin(false);
    (record_.note(values), ...);
    return record_.digest();
  };
  int one = 0, other = 0;
  EXPECT_EQ(digest(&one, 3, 1.5f), digest(&one, 3, 1.5f));
  EXPECT_NE(digest(&one, 3, 1.5f), digest(&other, 3, 1.5f));
  EXPECT_NE(digest(&one, 3, 1.5f), digest(&one, 4, 1.5f));
  EXPECT_NE(digest(&one, 3, 1.5f), digest(&one, 3, 1.25f));
  EXPECT_NE(digest(1, 2), digest(2, 1));
  EXPECT_NE(digest(1), digest(1, 0));
}

TEST_F(LaunchRecordTest, PaddingIsNoArgument) {
  Padded a, b;
  std::memset(&a, 0x11, sizeof(a));
  std::memset(&b, 0x22, sizeof(b));
  a.small = b.small = 'x';
  a.large = b.large = 2;
  record_.begin(false);
  record_.note(a);
  const std::uint64_t of_a = record_.digest();
  record_.begin(false);
  record_.note(b);
  EXPECT_EQ(record_.digest(), of_a);
}

TEST_F(LaunchRecordTest, WhatIsDescribedTwiceLiesThereOnce) {
  record_.begin(false);
  const std::vector<int> table(20, 7), other(20, 8), shorter(19, 7);
  const std::size_t first = describe(table);
  EXPECT_EQ(describe(std::vector<int>(table)), first);
  EXPECT_NE(describe(other), first);
  EXPECT_NE(describe(shorter), first);
}

/// A table of 20 pages may become one of 32 without moving what lies behind it.
TEST_F(LaunchRecordTest, WhatGrowsALittleMovesNothing) {
  const auto place_behind = [&](int pages) {
    record_.begin(false);
    std::vector<int> table(pages);
    std::iota(table.begin(), table.end(), 0);
    describe(table);
    return describe(std::vector<double>{0.5, 0.25});
  };
  EXPECT_EQ(place_behind(17), place_behind(32));
  EXPECT_NE(place_behind(32), place_behind(33));
}

TEST_F(LaunchRecordTest, MoreThanThereIsRoomForIsRefused) {
  record_.begin(false);
  describe(std::vector<char>(2000, 'a'));
  EXPECT_THROW(describe(std::vector<char>(2049, 'b')), OutOfMemory);
  describe(std::vector<char>(2048, 'c'));
  EXPECT_THROW(describe(std::vector<char>(1, 'd')), OutOfMemory);
  record_.begin(true);
  EXPECT_TRUE(record_.launches());
  describe(std::vector<char>(1, 'd'));
}

}  // namespace
}  // namespace longspan
