#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "tests/attention/kernels_conformance.h"

namespace longspan::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr HeadShape kSmall{.query_heads = 1, .kv_heads = 1, .head_dim = 16};

/// A source of one row and head whose values are all o.
Computed constant(float o, float lse) { return {std::vector<float>(16, o), {lse}}; }

/// Every value of source i's O is o[i].
Computed merge_constants(KernelsOnDevice& on, const std::vector<float>& o,
                         const std::vector<float>& lse) {
  std::vector<Computed> sources;
  for (std::size_t i = 0; i < o.size(); ++i) sources.push_back(constant(o[i], lse[i]));
  return on.merge(kSmall, sources);
}

TEST_P(MergeConformance, EqualWeightsGiveTheMean) {
  const Computed merged = merge_constants(on_, {2, 4}, {0.5f, 0.5f});
  EXPECT_FLOAT_EQ(merged.o[7], 3);
  EXPECT_FLOAT_EQ(merged.lse[0], 0.5f + std::log(2.0f));
}

TEST_P(MergeConformance, AFarSmallerSourceDoesNotCount) {
  const Computed merged = merge_constants(on_, {5, 7}, {-100, 0});
  EXPECT_FLOAT_EQ(merged.o[0], 7);
  EXPECT_FLOAT_EQ(merged.lse[0], 0);
}

TEST_P(MergeConformance, WeightsAreThoseOfNaturalLogarithms) {
  const Computed merged = merge_constants(on_, {1, 0}, {1, 2});
  EXPECT_NEAR(merged.o[3], 0.26894, 1e-5);
  EXPECT_NEAR(merged.lse[0], 2.31326, 1e-5);
  EXPECT_NEAR(merge_constants(on_, {0, 1}, {1, 2}).o[3], 0.73106, 1e-5);
}

/// Sums of 2 and 4 weigh as 1 to 2 and come to 6; were they powers, they would not.
TEST_P(MergeConformance, LogarithmsOfTwoAndFourWeighOneToTwo) {
  const float two = std::log(2.0f), four = std::log(4.0f);
  EXPECT_NEAR(merge_constants(on_, {1, 0}, {two, four}).o[0], 1.0 / 3, 1e-6);
  const Computed merged = merge_constants(on_, {0, 1}, {two, four});
  EXPECT_NEAR(merged.o[0], 2.0 / 3, 1e-6);
  EXPECT_NEAR(merged.lse[0], std::log(6.0), 1e-6);
}

TEST_P(MergeConformance, AnEmptySourceMayHoldNanAndChangesNoBits) {
  const float value = -0.0f;
  for (auto order : {0, 1}) {
    std::vector<float> o{kNan, value}, lse{-kInfinity, 3.25f};
    if (order == 1) std::ranges::reverse(o), std::ranges::reverse(lse);
    const Computed merged = merge_constants(on_, o, lse);
    for (float x : merged.o) EXPECT_EQ(std::bit_cast<int>(x), std::bit_cast<int>(value));
    EXPECT_EQ(merged.lse[0], 3.25f);
  }
  const Computed three = merge_constants(on_, {1, kNan, 3}, {0, -kInfinity, 0});
  EXPECT_FLOAT_EQ(three.o[15], 2);
}

TEST_P(MergeConformance, NothingButEmptySourcesIsEmpty) {
  for (std::size_t count : {0, 1, 2, 5}) {
    const Computed merged =
        merge_constants(on_, std::vector(count, kNan), std::vector(count, -kInfinity));
    for (float x : merged.o) EXPECT_EQ(x, 0.0f);
    EXPECT_EQ(merged.lse[0], -kInfinity);
  }
}

TEST_P(MergeConformance, ABadLseCountsAsEmptyAndIsCounted) {
  EXPECT_EQ(on_.kernels(kSmall, 1.0f).bad_lse_total(), 0);
  const Computed merged = merge_constants(on_, {9, 2, 9}, {kNan, 1.5f, kInfinity});
  for (float x : merged.o) EXPECT_EQ(x, 2.0f);
  EXPECT_EQ(merged.lse[0], 1.5f);
  EXPECT_EQ(on_.kernels(kSmall, 1.0f).bad_lse_total(), 2);
  EXPECT_EQ(merge_constants(on_, {1}, {kNan}).lse[0], -kInfinity);
  EXPECT_EQ(on_.kernels(kSmall, 1.0f).bad_lse_total(), 3);
}

TEST_P(MergeConformance, HugeDifferencesStayFinite) {
  for (float far : {-1e4f, 1e4f}) {
    const Computed merged = merge_constants(on_, {3, 8}, {0, far});
    EXPECT_EQ(merged.o[0], far > 0 ? 8.0f : 3.0f);
    EXPECT_EQ(merged.lse[0], std::max(0.0f, far));
  }
}

TEST_P(MergeConformance, TheResultMayReplaceASource) {
  for (int replaced : {0, 1, 2}) {
    std::vector<DevicePartial> sources;
    for (float x : {1.0f, 2.0f, 6.0f}) sources.push_back(on_.upload(constant(x, 0.0f)));
    std::vector<Partial> views;
    for (const DevicePartial& source : sources) views.push_back(source.view());
    on_.kernels(kSmall, 1.0f).merge(on_.stream(), views, views[replaced], 1);
    const Computed merged = on_.download(sources[replaced]);
    EXPECT_FLOAT_EQ(merged.o[5], 3.0f);
    EXPECT_FLOAT_EQ(merged.lse[0], std::log(3.0f));
  }
}

/// Many rows, heads whose values fill no whole number of lanes, and sources that are partly empty.
TEST_P(MergeConformance, ReplacingASourceChangesNoBits) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 3, .head_dim = 72};
  constexpr std::int64_t kRows = 50;
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  std::vector<Computed> sources(5);
  for (Computed& source : sources) {
    for (int at = 0; at < kRows * 3; ++at) {
      const bool empty = normal(random) > 0.5f;
      for (int d = 0; d < 72; ++d) source.o.push_back(empty ? kNan : normal(random));
      source.lse.push_back(empty ? -kInfinity : normal(random));
    }
  }
  const Computed apart = on_.merge(shape, sources);
  EXPECT_TRUE(std::ranges::none_of(apart.o, [](float x) { return std::isnan(x); }));
  for (std::size_t replaced = 0; replaced < sources.size(); ++replaced) {
    std::vector<DevicePartial> held;
    std::vector<Partial> views;
    for (const Computed& source : sources) {
      held.push_back(on_.upload(source));
      views.push_back(held.back().view());
    }
    on_.kernels(shape, 1.0f).merge(on_.stream(), views, views[replaced], kRows);
    EXPECT_EQ(on_.download(held[replaced]), apart) << replaced;
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
TEST_P(MergeConformance, ManySourcesEqualTheSoftmaxOfTheirUnionInAnyGrouping) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 16};
  constexpr std::int64_t kRows = 32;
  constexpr int kSources = 100;
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  std::vector<Computed> sources(kSources);
  std::vector<Softmax> whole(kRows * shape.query_heads);
  for (Computed& source : sources) {
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
  const Computed flat = on_.merge(shape, sources);
  double worst = 0, worst_lse = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    worst = std::max(worst, std::abs(flat.o[at * shape.head_dim] - whole[at].mean()));
    worst_lse = std::max(worst_lse, std::abs(flat.lse[at] - whole[at].lse()));
  }
  double worst_grouped = 0;
  for (int cut : {1, 2, 13, 50, 99}) {
    std::vector<Computed> left(sources.begin(), sources.begin() + cut);
    std::vector<Computed> right(sources.begin() + cut, sources.end());
    std::vector<Computed> halves{on_.merge(shape, left), on_.merge(shape, right)};
    const Computed grouped = on_.merge(shape, halves);
    for (std::size_t i = 0; i < flat.o.size(); ++i) {
      worst_grouped = std::max<double>(worst_grouped, std::abs(grouped.o[i] - flat.o[i]));
    }
  }
  std::printf("%s, 100 sources: worst O error %.3g, lse %.3g; regrouped %.3g\n",
              GetParam().name.c_str(), worst, worst_lse, worst_grouped);
  EXPECT_LT(worst, 1e-5);
  EXPECT_LT(worst_lse, 1e-5);
  EXPECT_LT(worst_grouped, 1e-6);
}

}  // namespace
}  // namespace longspan::test
