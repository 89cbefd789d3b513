#include "runtime/model/rope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <vector>

#include "runtime/model/head_order.h"

namespace longspan {
namespace {

TEST(RopeTableTest, AnglesStayWithinAMicroradianOutToTenMillion) {
  const std::vector<std::int64_t> positions{0, 1, 7, 8191, 131'072, 1'000'003, 9'999'999};
  for (double base : {1e4, 1e5, 5e5}) {
    for (int head_dim : {2, 64, 80, 128}) {
      const RopeTable rope(base, head_dim);
      std::vector<float> angles(positions.size() * head_dim, NAN);
      rope.angles(positions, angles);
      const int half = head_dim / 2;
      for (std::size_t row = 0; row < positions.size(); ++row) {
        for (int i = 0; i < half; ++i) {
          const long double angle =
              positions[row] * std::pow(static_cast<long double>(base), -2.0L * i / head_dim);
          // 1e-6 less what rounding to float may add.
          EXPECT_NEAR(angles[row * head_dim + i], std::cos(angle), 5e-7);
          EXPECT_NEAR(angles[row * head_dim + half + i], std::sin(angle), 5e-7);
        }
      }
    }
  }
}

TEST(RopeTableTest, NoPositionsNeedNoAngles) { RopeTable(1e4, 64).angles({}, {}); }

TEST(RopeTableTest, AnOddHeadIsTheCallersMistake) {
  EXPECT_THROW(RopeTable(1e4, 63), std::logic_error);
}

/// Each rule in long double, written as its paper or transformers has it.
class ScaledRopeTest : public testing::Test {
 protected:
  static constexpr int kDim = 64;
  using Rule = std::function<long double(int pair, long double plain)>;

  static long double turn(int pair, long double base = 10000, int rotated = kDim) {
    return std::pow(base, -2.0L * pair / rotated);
  }

  /// Angles of `spec` against the rule's frequency of each pair that turns.
  static void expect_turns(const RopeSpec& spec, std::int64_t length, const Rule& rule) {
    const std::vector<std::int64_t> positions{0, 1, 4097, 131'072, 9'999'999};
    const RopeTable rope(spec, kDim, length);
    std::vector<float> angles(positions.size() * kDim, NAN);
    rope.angles(positions, angles);
    const int pairs = (spec.rotated > 0 ? spec.rotated : kDim) / 2;
    for (std::size_t row = 0; row < positions.size(); ++row) {
      for (int i = 0; i < kDim / 2; ++i) {
        const bool turns = i < pairs;
        const long double angle =
            turns ? positions[row] * rule(i, turn(i, spec.base, 2 * pairs)) : 0;
        const long double scale = turns ? spec.attention_factor : 1;
        // 1e-6 less what rounding to float may add.
        EXPECT_NEAR(angles[row * kDim + i], scale * std::cos(angle), 8e-7) << i;
        EXPECT_NEAR(angles[row * kDim + kDim / 2 + i], scale * std::sin(angle), 8e-7) << i;
      }
    }
  }
};

TEST_F(ScaledRopeTest, LinearDividesPositions) {
  expect_turns({.scaling = RopeScaling::kLinear, .factor = 3}, 0,
               [](int, long double plain) { return plain / 3; });
}

TEST_F(ScaledRopeTest, DynamicGrowsTheBaseOnceTheContextIsFull) {
  const RopeSpec spec{.scaling = RopeScaling::kDynamic, .factor = 2, .original_context = 1000};
  for (const std::int64_t length : {1, 999, 1000, 1001, 5000}) {
    const long double stretch = std::max<std::int64_t>(length, 1000) / 1000.0L;
    const long double base = 10000 * std::pow(2 * stretch - 1, kDim / (kDim - 2.0L));
    expect_turns(spec, length, [&](int i, long double) { return turn(i, base); });
  }
}

TEST_F(ScaledRopeTest, YarnLeavesFastPairsAndDividesSlowOnes) {
  const RopeSpec spec{.scaling = RopeScaling::kYarn,
                      .factor = 4,
                      .attention_factor = 1.1386294361,
                      .original_context = 4096,
                      .fast_turns = 32,
                      .slow_turns = 1};
  const auto bound = [](long double turns) {
    return kDim * std::log(4096 / (turns * 2 * std::numbers::pi_v<long double>)) /
           (2 * std::log(10000.0L));
  };
  const long double low = std::floor(bound(32)), high = std::ceil(bound(1));
  expect_turns(spec, 0, [&](int i, long double plain) {
    const long double ramp = std::clamp((i - low) / (high - low), 0.0L, 1.0L);
    return plain / 4 * ramp + plain * (1 - ramp);
  });
}

TEST_F(ScaledRopeTest, Llama3SmoothsBetweenItsWavelengths) {
  const RopeSpec spec{.base = 500000,
                      .scaling = RopeScaling::kLlama3,
                      .factor = 8,
                      .original_context = 8192,
                      .fast_turns = 4,
                      .slow_turns = 1};
  expect_turns(spec, 0, [](int, long double plain) {
    const long double wavelength = 2 * std::numbers::pi_v<long double> / plain;
    if (wavelength > 8192) return plain / 8;
    if (wavelength < 8192 / 4.0L) return plain;
    const long double smooth = (8192 / wavelength - 1) / (4 - 1);
    return (1 - smooth) * plain / 8 + smooth * plain;
  });
}

TEST_F(ScaledRopeTest, LongRopeHasASetForEachLengthAndTurnsAPart) {
  RopeSpec spec{.rotated = 48,
                .scaling = RopeScaling::kLongRope,
                .attention_factor = 1.19,
                .original_context = 4096};
  for (int i = 0; i < 24; ++i) {
    spec.short_divisors.push_back(1 + 0.1 * i);
    spec.long_divisors.push_back(2 + i);
  }
  for (const std::int64_t length : {1, 4095, 4096, 4097, 100'000}) {
    const auto& divisors = length > 4096 ? spec.long_divisors : spec.short_divisors;
    expect_turns(spec, length, [&](int i, long double plain) { return plain / divisors[i]; });
  }
}

TEST_F(ScaledRopeTest, ALengthIsNeededOnlyWhereItMatters) {
  EXPECT_THROW(
      RopeTable({.scaling = RopeScaling::kDynamic, .factor = 2, .original_context = 8}, kDim),
      std::logic_error);
}

TEST(HeadOrderTest, EveryDimensionIsTakenOnceAndTurningOnesComeFirst) {
  for (const int dim : {16, 24, 96}) {
    for (const int rotated : {4, dim / 4 * 2, dim}) {
      for (const bool interleaved : {false, true}) {
        const HeadOrder order{dim, rotated, interleaved};
        std::vector<int> taken(dim);
        for (int i = 0; i < dim; ++i) ++taken.at(order.dimension(i));
        EXPECT_EQ(taken, std::vector<int>(dim, 1));
        for (int i = 0; i < rotated / 2; ++i) {
          EXPECT_EQ(order.dimension(i), interleaved ? 2 * i : i);
          EXPECT_EQ(order.dimension(dim / 2 + i), interleaved ? 2 * i + 1 : rotated / 2 + i);
        }
        EXPECT_EQ(order.row(3 * dim + 1), 3 * dim + order.dimension(1));
      }
    }
  }
}

}  // namespace
}  // namespace longspan
