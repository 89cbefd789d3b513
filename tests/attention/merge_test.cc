#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "attention/kernels.h"
#include "comm/cpu/cpu_device.h"

namespace longspan {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct HeldPartial {
  std::vector<float> o;
  std::vector<float> lse;
  Partial view() { return {o.data(), lse.data()}; }
};

class MergeTest : public ::testing::Test {
 protected:
  /// Every value of source i's O is o[i].
  HeldPartial merge_constants(std::vector<float> o, std::vector<float> lse) {
    std::vector<HeldPartial> sources;
    for (std::size_t i = 0; i < o.size(); ++i) {
      sources.push_back({std::vector<float>(16, o[i]), {lse[i]}});
    }
    return merge(*small_, sources, 1);
  }

  HeldPartial merge(AttentionKernels& kernels, std::vector<HeldPartial>& sources,
                    std::int64_t rows) {
    const auto items = static_cast<std::size_t>(rows) * kernels.shape().query_heads;
    HeldPartial out{std::vector<float>(items * kernels.shape().head_dim, kNan),
                    std::vector<float>(items, kNan)};
    std::vector<Partial> views;
    for (HeldPartial& source : sources) views.push_back(source.view());
    kernels.merge(*stream_, views, out.view(), rows);
    stream_->synchronize();
    return out;
  }

  std::unique_ptr<AttentionKernels> small_ =
      new_cpu_attention_kernels({.query_heads = 1, .kv_heads = 1, .head_dim = 16}, 1.0f);
  std::unique_ptr<Stream> stream_ = CpuDevice(1).new_stream();
};

TEST_F(MergeTest, EqualWeightsGiveTheMean) {
  const HeldPartial merged = merge_constants({2, 4}, {0.5f, 0.5f});
  EXPECT_FLOAT_EQ(merged.o[7], 3);
  EXPECT_FLOAT_EQ(merged.lse[0], 0.5f + std::log(2.0f));
}

TEST_F(MergeTest, AFarSmallerSourceDoesNotCount) {
  const HeldPartial merged = merge_constants({5, 7}, {-100, 0});
  EXPECT_FLOAT_EQ(merged.o[0], 7);
  EXPECT_FLOAT_EQ(merged.lse[0], 0);
}

TEST_F(MergeTest, WeightsAreThoseOfNaturalLogarithms) {
  const HeldPartial merged = merge_constants({1, 0}, {1, 2});
  EXPECT_NEAR(merged.o[3], 0.26894, 1e-5);
  EXPECT_NEAR(merged.lse[0], 2.31326, 1e-5);
  EXPECT_NEAR(merge_constants({0, 1}, {1, 2}).o[3], 0.73106, 1e-5);
}

TEST_F(MergeTest, AnEmptySourceMayHoldNanAndChangesNoBits) {
  const float value = -0.0f;
  for (auto order : {0, 1}) {
    std::vector<float> o{kNan, value}, lse{-kInfinity, 3.25f};
    if (order == 1) std::ranges::reverse(o), std::ranges::reverse(lse);
    const HeldPartial merged = merge_constants(o, lse);
    for (float x : merged.o) EXPECT_EQ(std::bit_cast<int>(x), std::bit_cast<int>(value));
    EXPECT_EQ(merged.lse[0], 3.25f);
  }
  const HeldPartial three = merge_constants({1, kNan, 3}, {0, -kInfinity, 0});
  EXPECT_FLOAT_EQ(three.o[15], 2);
}

TEST_F(MergeTest, NothingButEmptySourcesIsEmpty) {
  for (std::size_t count : {0, 1, 2, 5}) {
    const HeldPartial merged =
        merge_constants(std::vector(count, kNan), std::vector(count, -kInfinity));
    for (float x : merged.o) EXPECT_EQ(x, 0.0f);
    EXPECT_EQ(merged.lse[0], -kInfinity);
  }
}

TEST_F(MergeTest, ABadLseCountsAsEmptyAndIsCounted) {
  EXPECT_EQ(small_->bad_lse_total(), 0);
  const HeldPartial merged = merge_constants({9, 2, 9}, {kNan, 1.5f, kInfinity});
  for (float x : merged.o) EXPECT_EQ(x, 2.0f);
  EXPECT_EQ(merged.lse[0], 1.5f);
  EXPECT_EQ(small_->bad_lse_total(), 2);
  EXPECT_EQ(merge_constants({1}, {kNan}).lse[0], -kInfinity);
  EXPECT_EQ(small_->bad_lse_total(), 3);
}

TEST_F(MergeTest, HugeDifferencesStayFinite) {
  for (float far : {-1e4f, 1e4f}) {
    const HeldPartial merged = merge_constants({3, 8}, {0, far});
    EXPECT_EQ(merged.o[0], far > 0 ? 8.0f : 3.0f);
    EXPECT_EQ(merged.lse[0], std::max(0.0f, far));
  }
}

TEST_F(MergeTest, TheResultMayReplaceASource) {
  for (int replaced : {0, 1, 2}) {
    std::vector<HeldPartial> sources;
    for (float x : {1.0f, 2.0f, 6.0f}) sources.push_back({std::vector<float>(16, x), {0.0f}});
    std::vector<Partial> views;
    for (HeldPartial& source : sources) views.push_back(source.view());
    small_->merge(*stream_, views, views[replaced], 1);
    stream_->synchronize();
    EXPECT_FLOAT_EQ(sources[replaced].o[5], 3.0f);
    EXPECT_FLOAT_EQ(sources[replaced].lse[0], std::log(3.0f));
  }
}

/// Direct softmax in double over all sources' keys: a source is a set of (score, value) pairs.
struct Softmax {
  double top = -std::numeric_limits<double>::infinity();
  double sum = 0;
  double weighted = 0;
  void add(double score, double value) {
    const double next = std::max(top, score);
    const double old = sum > 0 ? std::exp(top - next) : 0;
    sum = sum * old + std::exp(score - next);
    weighted = weighted * old + std::exp(score - next) * value;
    top = next;
  }
  double mean() const { return weighted / sum; }
  double lse() const { return top + std::log(sum); }
};

/// 100 sources of 1 to 512 keys; values are compared per row and head, the same for all of O.
TEST_F(MergeTest, ManySourcesEqualTheSoftmaxOfTheirUnionInAnyGrouping) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 16};
  const auto kernels = new_cpu_attention_kernels(shape, 1.0f);
  constexpr std::int64_t kRows = 32;
  constexpr int kSources = 100;
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  std::vector<HeldPartial> sources(kSources);
  std::vector<Softmax> whole(kRows * shape.query_heads);
  for (HeldPartial& source : sources) {
    const int keys = std::uniform_int_distribution(1, 512)(random);
    for (Softmax& all : whole) {
      Softmax part;
      for (int key = 0; key < keys; ++key) {
        const double score = 3 * normal(random), value = normal(random);
        part.add(score, value);
        all.add(score, value);
      }
      source.o.insert(source.o.end(), shape.head_dim, static_cast<float>(part.mean()));
      source.lse.push_back(static_cast<float>(part.lse()));
    }
  }
  const HeldPartial flat = merge(*kernels, sources, kRows);
  double worst = 0, worst_lse = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    worst = std::max(worst, std::abs(flat.o[at * shape.head_dim] - whole[at].mean()));
    worst_lse = std::max(worst_lse, std::abs(flat.lse[at] - whole[at].lse()));
  }
  double worst_grouped = 0;
  for (int cut : {1, 2, 13, 50, 99}) {
    std::vector<HeldPartial> left(sources.begin(), sources.begin() + cut);
    std::vector<HeldPartial> right(sources.begin() + cut, sources.end());
    std::vector<HeldPartial> halves{merge(*kernels, left, kRows), merge(*kernels, right, kRows)};
    const HeldPartial grouped = merge(*kernels, halves, kRows);
    for (std::size_t i = 0; i < flat.o.size(); ++i) {
      worst_grouped = std::max<double>(worst_grouped, std::abs(grouped.o[i] - flat.o[i]));
    }
  }
  std::printf("100 sources: worst O error %.3g, lse %.3g; regrouped %.3g\n", worst, worst_lse,
              worst_grouped);
  EXPECT_LT(worst, 1e-5);
  EXPECT_LT(worst_lse, 1e-5);
  EXPECT_LT(worst_grouped, 1e-6);
}

}  // namespace
}  // namespace longspan
