#include "runtime/model/cpu/vector_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Below, at and above every vector width, with every remainder of eight.
const std::vector<int> kWidths{1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 576, 1536, 8191};

TEST(VectorKernelsTest, RmsNormIsThatOfDouble) {
  for (int hidden : kWidths) {
    const auto x = test::random_values(hidden, 1, -3, 3);
    const auto weight = test::random_values(hidden, 2);
    std::vector<float> out(hidden, NAN);
    rms_norm_row(x.data(), weight.data(), hidden, 1e-5f, out.data());
    double squares = 0;
    for (float value : x) squares += static_cast<double>(value) * value;
    const double scale = 1 / std::sqrt(squares / hidden + 1e-5f);
    for (int i = 0; i < hidden; ++i) EXPECT_NEAR(out[i], x[i] * scale * weight[i], 1e-6);
  }
}

TEST(VectorKernelsTest, RmsNormMayWriteOverItsInput) {
  const auto x = test::random_values(100, 1);
  const std::vector<float> ones(100, 1.0f);
  std::vector<float> apart(100), in_place = x;
  rms_norm_row(x.data(), ones.data(), 100, 1e-5f, apart.data());
  rms_norm_row(in_place.data(), ones.data(), 100, 1e-5f, in_place.data());
  EXPECT_EQ(apart, in_place);
}

TEST(VectorKernelsTest, AZeroRowStaysZero) {
  const std::vector<float> zeros(17), ones(17, 1.0f);
  std::vector<float> out(17, NAN);
  rms_norm_row(zeros.data(), ones.data(), 17, 1e-5f, out.data());
  EXPECT_EQ(out, zeros);
}

TEST(VectorKernelsTest, SwigluIsThatOfDouble) {
  for (int width : kWidths) {
    const auto gate = test::random_values(width, 3, -40, 40);
    const auto up = test::random_values(width, 4);
    std::vector<float> out(width, NAN);
    swiglu_row(gate.data(), up.data(), width, out.data());
    for (int i = 0; i < width; ++i) {
      const double expected = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
      EXPECT_NEAR(out[i], expected, 1e-6 * std::abs(expected)) << "gate " << gate[i];
    }
  }
}

TEST(VectorKernelsTest, SwigluOfExtremesIsFinite) {
  const std::vector<float> gate{-1e30f, -200, -88, 88, 200, 1e30f}, up(6, 1.0f);
  std::vector<float> out(6, NAN);
  swiglu_row(gate.data(), up.data(), 6, out.data());
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(out[i], 0, 1e-7) << gate[i];
  for (int i = 3; i < 6; ++i) EXPECT_EQ(out[i], gate[i]);
}

TEST(VectorKernelsTest, ExpSumIsExactToTheSeventhDigit) {
  for (int count : kWidths) {
    const auto x = test::random_values(count, 5, -90, 5);
    double expected = 0;
    for (float value : x) expected += std::exp(static_cast<double>(value - 5.0f));
    EXPECT_NEAR(exp_sum(x.data(), count, 5.0f), expected, 2e-7 * expected + count * 1e-37);
  }
}

TEST(VectorKernelsTest, EachExponentialIsWithinItsBound) {
  for (float x = -87; x < 0; x += 0.0107f) {
    const double expected = std::exp(static_cast<double>(x));
    EXPECT_NEAR(exp_sum(&x, 1, 0.0f), expected, 2e-7 * expected) << x;
  }
  const float zero = 0;
  EXPECT_EQ(exp_sum(&zero, 1, 0.0f), 1.0);
}

TEST(VectorKernelsTest, ANaNReachesTheSum) {
  for (int at : {0, 7, 16}) {
    std::vector<float> x(17, 0.5f);
    x[at] = NAN;
    EXPECT_TRUE(std::isnan(exp_sum(x.data(), 17, 1.0f)));
    x[at] = kInfinity;
    EXPECT_TRUE(std::isnan(exp_sum(x.data(), 17, kInfinity)));
  }
}

TEST(VectorKernelsTest, LargestFindsTheValueWhereverItIs) {
  for (int count : kWidths) {
    auto x = test::random_values(count, 6);
    for (int at : {0, count / 2, count - 1}) {
      auto with_peak = x;
      with_peak[at] = 2;
      EXPECT_EQ(largest(with_peak.data(), count), 2);
    }
  }
  EXPECT_EQ(largest(nullptr, 0), -kInfinity);
}

TEST(VectorKernelsTest, OneValueThatIsNotFiniteIsSeen) {
  for (float bad : {NAN, kInfinity, -kInfinity}) {
    for (int at : {0, 15, 32}) {
      std::vector<float> x(33, std::numeric_limits<float>::max());
      EXPECT_TRUE(all_finite(x.data(), 33));
      x[at] = bad;
      EXPECT_FALSE(all_finite(x.data(), 33));
    }
  }
}

TEST(VectorKernelsTest, ASumIsAddedInListOrder) {
  for (const std::int64_t values : {0, 1, 63, 64, 65, 200}) {
    std::vector<std::vector<float>> parts;
    for (int part = 0; part < 5; ++part) {
      parts.push_back(test::random_values(values, part, -1e3f, 1e3f));
    }
    for (int count = 0; count <= 5; ++count) {
      std::vector<float> out = test::random_values(values, 9), expected = out;
      std::vector<const float*> list;
      for (int part = 0; part < count; ++part) list.push_back(parts[part].data());
      for (std::int64_t i = 0; i < values && count > 0; ++i) {
        float sum = list[0][i];
        for (int part = 1; part < count; ++part) sum += list[part][i];
        expected[i] += sum;
      }
      add_sum(list, values, out.data());
      EXPECT_EQ(out, expected) << count << " parts of " << values;
    }
  }
}

}  // namespace
}  // namespace longspan
