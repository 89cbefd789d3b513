#include "runtime/model/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

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

}  // namespace
}  // namespace longspan
