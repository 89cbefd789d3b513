#include "runtime/model/cpu/onednn_matmul.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

/// A packed matrix with its memory.
class Packed {
 public:
  Packed(int outputs, int inputs, std::uint32_t seed)
      : layout_(new_onednn_layout(outputs, inputs)),
        w_(test::random_values(1ULL * outputs * inputs, seed)),
        bytes_(static_cast<std::byte*>(std::aligned_alloc(64, (layout_->bytes() + 63) / 64 * 64)),
               std::free) {
    // Back to front: panels may come in any order.
    const int step = layout_->panel_rows();
    for (int first = (outputs - 1) / step * step; first >= 0; first -= step) {
      layout_->pack(w_.data() + 1LL * first * inputs, first, std::min(step, outputs - first),
                    {bytes_.get(), layout_->bytes()});
    }
  }

  PackedMatrix matrix() const { return {layout_.get(), bytes_.get()}; }

  /// x w^T in double.
  std::vector<double> times(const std::vector<float>& x, int rows) const {
    const int n = layout_->outputs(), k = layout_->inputs();
    std::vector<double> out(1ULL * rows * n);
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < n; ++j) {
        for (int i = 0; i < k; ++i) {
          out[1LL * row * n + j] += static_cast<double>(x[1LL * row * k + i]) * w_[1LL * j * k + i];
        }
      }
    }
    return out;
  }

 private:
  std::unique_ptr<MatrixLayout> layout_;
  std::vector<float> w_;
  std::unique_ptr<std::byte, void (*)(void*)> bytes_;
};

void expect_product(OnednnMatmul& matmul, const Packed& packed, int rows) {
  const PackedMatrix matrix = packed.matrix();
  const int n = matrix.layout->outputs(), k = matrix.layout->inputs();
  const auto x = test::random_values(1ULL * rows * k, rows);
  const std::vector<double> expected = packed.times(x, rows);
  std::vector<float> out(expected.size(), NAN);  // must be written, not added to
  matmul.multiply(x.data(), rows, matrix, out.data(), Output::kOverwrite);
  const double tolerance = 1e-6 * std::sqrt(k) + 1e-6;
  for (std::size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], expected[i], tolerance) << rows << " x " << k << " x " << n << " at " << i;
  }
  matmul.multiply(x.data(), rows, matrix, out.data(), Output::kAccumulate);
  for (std::size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], 2 * expected[i], 2 * tolerance) << rows << " rows, accumulated";
  }
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
  matmul.multiply(nullptr, 0, packed.matrix(), nullptr, Output::kOverwrite);
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

}  // namespace
}  // namespace longspan
