#include "runtime/model/cpu/few_rows_product.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <vector>

#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

#ifdef __SANITIZE_THREAD__
constexpr int kTeams[] = {1};  // OpenMP's barriers are invisible to ThreadSanitizer
#else
constexpr int kTeams[] = {2, 3, 8};
#endif

struct Case {
  std::int64_t inputs;
  std::int64_t outputs;
};

/// Ends of vectors, of a pass over columns, and of a pass over inputs.
std::vector<Case> cases() {
  std::vector<Case> list;
  for (std::int64_t outputs : {1, 7, 8, 15, 16, 17, 33, 511, 512, 513, 1100}) {
    for (std::int64_t inputs : {1, 3, 4, 5, 70}) list.push_back({inputs, outputs});
  }
  return list;
}

std::vector<float> product(const Case& c, std::int64_t rows, const float* x, const float* w,
                           int threads) {
  std::vector<float> out(rows * c.outputs, NAN);  // must be written, not added to
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  multiply_few_rows(x, rows, w, c.outputs, c.inputs, c.outputs, out.data(), false);
  omp_set_num_threads(before);
  return out;
}

TEST(FewRowsProductTest, IsTheProductOfDoubleForEveryShape) {
  for (const Case& c : cases()) {
    const auto x = test::random_values(kFewRows * c.inputs, 1);
    const auto w = test::random_values(c.inputs * c.outputs, 2);
    for (std::int64_t rows : {1, 2, 3, 4, 5, 8, 15, 16}) {
      const std::vector<float> out = product(c, rows, x.data(), w.data(), 1);
      std::vector<float> twice = out;
      multiply_few_rows(x.data(), rows, w.data(), c.outputs, c.inputs, c.outputs, twice.data(),
                        true);
      for (std::int64_t at = 0; at < rows * c.outputs; ++at) {
        double expected = 0;
        for (std::int64_t i = 0; i < c.inputs; ++i) {
          expected += static_cast<double>(x[at / c.outputs * c.inputs + i]) *
                      w[i * c.outputs + at % c.outputs];
        }
        ASSERT_NEAR(out[at], expected, 2e-6 * std::sqrt(c.inputs) + 1e-6)
            << rows << " x " << c.inputs << " x " << c.outputs << " at " << at;
        ASSERT_NEAR(twice[at], 2 * expected, 4e-6 * std::sqrt(c.inputs) + 2e-6);
      }
    }
  }
}

TEST(FewRowsProductTest, ARowsBitsDependNeitherOnOtherRowsNorOnThreads) {
  for (const Case& c : cases()) {
    const auto x = test::random_values(kFewRows * c.inputs, 3);
    const auto w = test::random_values(c.inputs * c.outputs, 4);
    const std::vector<float> all = product(c, kFewRows, x.data(), w.data(), 1);
    for (int threads : kTeams) {
      EXPECT_EQ(product(c, kFewRows, x.data(), w.data(), threads), all) << threads;
    }
    for (std::int64_t row = 0; row < kFewRows; ++row) {
      const std::vector<float> alone = product(c, 1, x.data() + row * c.inputs, w.data(), 1);
      const auto* in_all = all.data() + row * c.outputs;
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), in_all)) << row;
    }
  }
}

TEST(FewRowsProductTest, APartOfAWiderMatrixGivesTheBitsOfThePartAlone) {
  constexpr std::int64_t kWidth = 700, kInputs = 37;
  const auto x = test::random_values(3 * kInputs, 5);
  const auto wide = test::random_values(kWidth * kInputs, 6);
  for (auto [first, outputs] : {std::pair{0, 64}, {1, 7}, {64, 636}, {699, 1}}) {
    std::vector<float> alone;
    for (std::int64_t i = 0; i < kInputs; ++i) {
      const float* from = wide.data() + i * kWidth + first;
      alone.insert(alone.end(), from, from + outputs);
    }
    std::vector<float> out(3 * outputs, NAN);
    multiply_few_rows(x.data(), 3, wide.data() + first, kWidth, kInputs, outputs, out.data(),
                      false);
    EXPECT_EQ(out, product({kInputs, outputs}, 3, x.data(), alone.data(), 1));
  }
}

}  // namespace
}  // namespace longspan
