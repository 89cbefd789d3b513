#include "runtime/model/cpu/onednn_matmul.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdlib>
#include <thread>
#include <vector>

#include "runtime/model/cpu/vector_kernels.h"
#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

/// A packed matrix with its memory.
class Packed {
 public:
  Packed(int outputs, int inputs, std::uint32_t seed, Precision precision = Precision::kFloat32)
      : Packed(new_onednn_layout(outputs, inputs, precision), seed) {
    rounds_ = precision == Precision::kBFloat16;
  }
  Packed(std::unique_ptr<MatrixLayout> layout, std::uint32_t seed)
      : layout_(std::move(layout)),
        w_(test::random_values(1ULL * layout_->outputs() * layout_->inputs(), seed)),
        bytes_(static_cast<std::byte*>(std::aligned_alloc(64, (layout_->bytes() + 63) / 64 * 64)),
               std::free) {
    const int outputs = layout_->outputs(), inputs = layout_->inputs();
    // Back to front: panels may come in any order.
    const int step = layout_->panel_rows();
    for (int first = (outputs - 1) / step * step; first >= 0; first -= step) {
      layout_->pack(w_.data() + 1LL * first * inputs, first, std::min(step, outputs - first),
                    {bytes_.get(), layout_->bytes()});
    }
  }

  PackedMatrix matrix() const { return {layout_.get(), bytes_.get()}; }

  /// As the product takes it: rounded like the matrix.
  double taken(float value) const {
    if (rounds_) round_row(&value, 1, &value);
    return value;
  }
  /// x w^T in double.
  std::vector<double> times(const std::vector<float>& x, int rows) const {
    return times(x, rows, {0, layout_->outputs()}, {0, layout_->inputs()});
  }
  /// The same by some outputs and inputs.
  std::vector<double> times(const std::vector<float>& x, int rows, Slice outputs,
                            Slice inputs) const {
    std::vector<double> out(1ULL * rows * outputs.count);
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < outputs.count; ++j) {
        const float* w = &w_[1LL * (outputs.first + j) * layout_->inputs() + inputs.first];
        for (int i = 0; i < inputs.count; ++i) {
          out[1LL * row * outputs.count + j] +=
              taken(x[1LL * row * inputs.count + i]) * taken(w[i]);
        }
      }
    }
    return out;
  }

 private:
  std::unique_ptr<MatrixLayout> layout_;
  bool rounds_ = false;
  std::vector<float> w_;
  std::unique_ptr<std::byte, void (*)(void*)> bytes_;
};

void expect_product(OnednnMatmul& matmul, const Packed& packed, int rows) {
  const PackedMatrix matrix = packed.matrix();
  const int n = matrix.layout->outputs(), k = matrix.layout->inputs();
  const auto x = test::random_values(1ULL * rows * k, rows);
  const std::vector<double> expected = packed.times(x, rows);
  std::vector<float> out(expected.size(), NAN);  // must be written, not added to
  matmul.multiply(x.data(), rows, whole(matrix), out.data(), Output::kOverwrite);
  const double tolerance = 1e-6 * std::sqrt(k) + 1e-6;
  for (std::size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], expected[i], tolerance) << rows << " x " << k << " x " << n << " at " << i;
  }
  matmul.multiply(x.data(), rows, whole(matrix), out.data(), Output::kAccumulate);
  for (std::size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], 2 * expected[i], 2 * tolerance) << rows << " rows, accumulated";
  }
}

void expect_slice(OnednnMatmul& matmul, const Packed& packed, int rows, Slice outputs,
                  Slice inputs) {
  const auto x = test::random_values(1ULL * rows * inputs.count, rows);
  const std::vector<double> expected = packed.times(x, rows, outputs, inputs);
  std::vector<float> out(expected.size() + 1, NAN);  // one more, which must not be touched
  const MatrixSlice slice{packed.matrix(), outputs, inputs};
  matmul.multiply(x.data(), rows, slice, out.data(), Output::kOverwrite);
  std::vector<float> twice = out;
  matmul.multiply(x.data(), rows, slice, twice.data(), Output::kAccumulate);
  const double tolerance = 1e-6 * std::sqrt(inputs.count) + 1e-6;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(out[i], expected[i], tolerance)
        << rows << " rows by outputs from " << outputs.first << " and inputs from " << inputs.first
        << " at " << i;
    ASSERT_NEAR(twice[i], 2 * expected[i], 2 * tolerance);
  }
  EXPECT_TRUE(std::isnan(out.back()));
}

TEST(OnednnMatmulTest, EveryNumberOfRowsGivesTheProductOfDouble) {
  OnednnMatmul matmul;
  const Packed packed(96, 72, 1);
  for (int rows = 1; rows <= 17; ++rows) expect_product(matmul, packed, rows);
  for (int rows : {64, 255, 256, 257}) expect_product(matmul, packed, rows);
}

TEST(OnednnMatmulTest, OddShapesWorkToo) {
  OnednnMatmul matmul;
  for (auto [n, k] : {std::pair{1, 1}, {1, 37}, {37, 1}, {33, 65}, {101, 7}, {768, 5}, {769, 3}}) {
    const Packed packed(n, k, 2);
    for (int rows : {1, 3, 19}) expect_product(matmul, packed, rows);
  }
}

TEST(OnednnMatmulTest, AMatrixOfSeveralPanelsIsPackedWhole) {
  OnednnMatmul matmul;
  const Packed packed(2000, 24, 3);
  for (int rows : {1, 9}) expect_product(matmul, packed, rows);
}

TEST(OnednnMatmulTest, NoRowsAreNoWork) {
  OnednnMatmul matmul;
  const Packed packed(8, 8, 1);
  matmul.multiply(nullptr, 0, whole(packed.matrix()), nullptr, Output::kOverwrite);
}

TEST(OnednnMatmulTest, ShapesThatLeftTheCacheComeBackRight) {
  OnednnMatmul matmul;
  const Packed packed(16, 16, 4);
  for (int round = 0; round < 2; ++round) {
    for (int rows = 8; rows < 110; ++rows) expect_product(matmul, packed, rows);
  }
}

TEST(OnednnMatmulTest, TwoThreadsMayMultiplyAtOnce) {
  OnednnMatmul matmul;
  const Packed packed(64, 48, 5);
  auto work = [&] {
    omp_set_num_threads(1);
    for (int rows = 1; rows < 40; ++rows) expect_product(matmul, packed, rows);
  };
  std::jthread other(work);
  work();
}

TEST(OnednnMatmulTest, PackingLeavesTheNumberOfThreadsAlone) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(3);
  const Packed packed(8, 8, 1);
  EXPECT_EQ(omp_get_max_threads(), 3);
  omp_set_num_threads(before);
}

TEST(OnednnMatmulTest, LayoutsOfEqualShapesHaveEqualDigests) {
  EXPECT_EQ(new_onednn_layout(64, 32)->digest(), new_onednn_layout(64, 32)->digest());
  EXPECT_NE(new_onednn_layout(64, 32)->digest(), new_onednn_layout(32, 64)->digest());
}

/// On and off the borders of blocks, at the matrix's ragged ends, all and next to nothing.
TEST(OnednnMatmulTest, ASliceGivesTheProductWithThePart) {
  OnednnMatmul matmul;
  constexpr int kOutputs = 200, kInputs = 90;
  for (const bool blocked : {false, true}) {
    const Packed packed(blocked ? new_blocked_onednn_layout(kOutputs, kInputs)
                                : new_onednn_layout(kOutputs, kInputs),
                        6);
    for (const Slice outputs : {Slice{0, 200},
                                {0, 64},
                                {64, 128},
                                {128, 72},
                                {192, 8},
                                {1, 63},
                                {60, 10},
                                {199, 1},
                                {64, 0}}) {
      for (const Slice inputs : {Slice{0, 90}, {0, 16}, {16, 64}, {64, 26}, {3, 5}, {89, 1}}) {
        for (int rows : {0, 1, 2, 5, 17}) expect_slice(matmul, packed, rows, outputs, inputs);
      }
    }
  }
}

TEST(OnednnMatmulTest, SlicesOfTheInputsAddUpToTheProduct) {
  OnednnMatmul matmul;
  for (const bool blocked : {false, true}) {
    const Packed packed(blocked ? new_blocked_onednn_layout(130, 192) : new_onednn_layout(130, 192),
                        7);
    const auto x = test::random_values(192, 8);
    std::vector<float> sum(130, 0.0f);
    for (int part = 0; part < 5; ++part) {  // the second is empty
      const Slice inputs = even_slice(192, 64, part, 5);
      if (inputs.count == 0) continue;
      matmul.multiply(x.data() + inputs.first, 1, slice_inputs(packed.matrix(), inputs), sum.data(),
                      Output::kAccumulate);
    }
    const std::vector<double> expected = packed.times(x, 1);
    for (int i = 0; i < 130; ++i) EXPECT_NEAR(sum[i], expected[i], 3e-5);
  }
}

TEST(OnednnMatmulTest, ASliceBeyondTheMatrixIsRefused) {
  OnednnMatmul matmul;
  const Packed packed(8, 8, 1);
  float x[8] = {}, out[8];
  EXPECT_THROW(matmul.multiply(x, 1, {packed.matrix(), {4, 5}, {0, 8}}, out, Output::kOverwrite),
               std::logic_error);
  EXPECT_THROW(matmul.multiply(x, 1, {packed.matrix(), {0, 8}, {0, 0}}, out, Output::kOverwrite),
               std::logic_error);
}

// Of inputs and outputs that fill no block: kernels with AVX-512 copy such rows to a scratchpad.
TEST(OnednnMatmulTest, WhatOneThreadHasMadeOthersRunAtTheSameTime) {
  OnednnMatmul matmul;
  const Packed packed(450, 150, 11);
  for (int rows : {1, 3, 19}) expect_product(matmul, packed, rows);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        for (int rows : {1, 3, 19}) expect_product(matmul, packed, rows);
      }
    });
  }
}

/// By oneDNN, where it has kernels, and by ours.
class BFloat16Test : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!GetParam() && !onednn_has_bfloat16()) GTEST_SKIP() << "no bfloat16 in oneDNN here";
  }
  OnednnMatmul matmul_{GetParam()};
};

TEST_P(BFloat16Test, ProductsAreOfRoundedFactorsAndExactSums) {
  const Packed packed(96, 72, 1, Precision::kBFloat16);
  for (int rows = 1; rows <= 18; ++rows) expect_product(matmul_, packed, rows);
  for (int rows : {511, 512, 513}) expect_product(matmul_, packed, rows);
  for (auto [n, k] :
       {std::pair{1, 1}, {1, 37}, {37, 1}, {33, 65}, {101, 7}, {769, 3}, {1500, 33}}) {
    const Packed odd(n, k, 2, Precision::kBFloat16);
    for (int rows : {1, 2, 3, 19}) expect_product(matmul_, odd, rows);
  }
}

TEST_P(BFloat16Test, ASliceGivesTheProductWithThePart) {
  const Packed packed(200, 90, 6, Precision::kBFloat16);
  for (const Slice outputs :
       {Slice{0, 200}, {0, 64}, {64, 128}, {192, 8}, {1, 63}, {60, 10}, {199, 1}, {64, 0}}) {
    for (const Slice inputs : {Slice{0, 90}, {0, 32}, {32, 58}, {16, 64}, {3, 5}, {89, 1}}) {
      for (int rows : {0, 1, 5, 17}) expect_slice(matmul_, packed, rows, outputs, inputs);
    }
  }
}

// Half panels are shared out: teams of more threads than there are halves, and halves of one panel
// on two threads.
TEST(OnednnMatmulTest, EveryTeamGivesARowTheSameBits) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "OpenMP's barriers are invisible to ThreadSanitizer";
#endif
  OnednnMatmul matmul(true);
  const int before = omp_get_max_threads();
  for (int outputs : {1, 32, 33, 64, 65, 96, 160, 200}) {
    const Packed packed(outputs, 70, 8, Precision::kBFloat16);
    for (int rows : {1, 3, 7}) {
      const auto x = test::random_values(rows * 70, rows);
      const auto product = [&](int threads) {
        omp_set_num_threads(threads);
        std::vector<float> out(rows * outputs, NAN);
        matmul.multiply(x.data(), rows, whole(packed.matrix()), out.data(), Output::kOverwrite);
        return out;
      };
      const auto alone = product(1);
      for (int threads : {2, 3, 8}) {
        EXPECT_EQ(product(threads), alone) << rows << " x " << outputs << " by " << threads;
      }
    }
  }
  omp_set_num_threads(before);
}

TEST_P(BFloat16Test, AMatrixTakesHalfTheMemory) {
  const auto narrow = new_onednn_layout(128, 64, Precision::kBFloat16);
  EXPECT_EQ(narrow->bytes(), 128U * 64 * 2);
  EXPECT_NE(narrow->digest(), new_onednn_layout(128, 64)->digest());
}

INSTANTIATE_TEST_SUITE_P(Own, BFloat16Test, testing::Bool());

TEST(OnednnMatmulTest, ABlockedLayoutMultipliesLikeAnyOther) {
  OnednnMatmul matmul;
  for (auto [n, k] : {std::pair{64, 16}, {200, 90}, {1, 1}}) {
    const Packed packed(new_blocked_onednn_layout(n, k), 9);
    for (int rows : {1, 3, 17}) expect_product(matmul, packed, rows);
  }
}

}  // namespace
}  // namespace longspan
