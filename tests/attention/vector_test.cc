#include "attention/cpu/vector.inl"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace longspan {
namespace {

float exp_of(float x) { return exp_nonpositive<4>(splat<4>(x))[0]; }

TEST(Vector, ExponentialIsWithinItsBound) {
  double worst = 0;
  for (float x = 0; x >= -87.0f; x = std::nextafter(x, -100.0f) - 1e-5f) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(exp_of(x) - exact) / exact);
  }
  std::printf("exponential: worst relative error %.3g\n", worst);
  EXPECT_LT(worst, 2e-7);
}

TEST(Vector, ExponentialOfNothingIsOneAndOfMinusInfinityZero) {
  EXPECT_EQ(exp_of(0.0f), 1.0f);
  EXPECT_EQ(exp_of(-0.0f), 1.0f);
  EXPECT_EQ(exp_of(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(exp_of(-1e30f), 0.0f);
  EXPECT_EQ(exp_of(-87.5f), 0.0f);
  EXPECT_TRUE(std::isnan(exp_of(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace longspan
