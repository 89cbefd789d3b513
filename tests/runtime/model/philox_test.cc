#include "runtime/model/philox.h"

#include <gtest/gtest.h>

#include <set>

namespace longspan {
namespace {

using Words = std::array<std::uint32_t, 4>;

// The known answers that Random123 publishes with the generator (tests/kat_vectors).
TEST(PhiloxTest, GivesThePublishedAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(
      philox4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
      (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxTest, SeedChoiceAndPositionAllCount) {
  std::set<double> numbers;
  for (std::int64_t seed : {-1L, 0L, 1L, 1L << 32, 1L << 62}) {
    for (std::uint32_t choice : {0u, 1u}) {
      for (std::int64_t position : {0L, 1L, 1L << 32, (1L << 32) + 1}) {
        const double number = uniform_number(seed, choice, position);
        EXPECT_GE(number, 0);
        EXPECT_LT(number, 1);
        numbers.insert(number);
      }
    }
  }
  EXPECT_EQ(numbers.size(), 40u);
}

TEST(PhiloxTest, NumbersAreEvenlySpread) {
  constexpr int kNumbers = 100'000, kBins = 10;
  std::array<int, kBins> bins{};
  for (int i = 0; i < kNumbers; ++i) ++bins[static_cast<int>(kBins * uniform_number(7, 0, i))];
  for (int bin : bins) EXPECT_NEAR(bin, kNumbers / kBins, 400);  // 4 standard deviations
}

}  // namespace
}  // namespace longspan
