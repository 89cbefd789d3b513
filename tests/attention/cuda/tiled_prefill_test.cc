// The kernels on matrix units at the sizes that hurt them, Hopper's rung by rung, on keys that
// bfloat16 holds exactly: what is left of the difference to the oracle is the rounding of weights.
// Every failure says where in tiles and fragments the wrong values lie, so that one run on a device
// is enough to find it.
//
//   --gtest_filter='*InOrder*'      the plainest rung alone
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "attention/cuda/cuda_kernels.h"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_device.h"
#include "comm/str.h"
#include "tests/attention/cuda/first_gpu.h"
#include "tests/attention/dense_attention.h"
#include "tests/attention/kernels_on_device.h"

namespace longspan::test {
namespace {

/// Of O, absolute: a weight is rounded by 2^-9 of itself, values reach 4.
constexpr double kOutputTolerance = 1.2e-2;
/// Of lse, relative to max(1, |lse|): sums are of unrounded weights.
constexpr double kLseTolerance = 2e-4;

struct Rung {
  std::string name;
  KernelChoice choice;
};

std::vector<Rung> rungs() {
  constexpr auto kSm90 = PrefillKernel::kSm90;
  return {{"InOrder", {kSm90, Sm90Rung::kInOrder}},
          {"Turns", {kSm90, Sm90Rung::kTurns}},
          {"Overlap", {kSm90, Sm90Rung::kOverlap}},
          {"Fetching", {kSm90, Sm90Rung::kFetching}},
          {"Mma", {PrefillKernel::kMma}}};
}

KernelsBackend backend(const Rung& rung) {
  return {rung.name,
          [is_sm90 = rung.choice.prefill == PrefillKernel::kSm90] {
            return first_gpu(is_sm90 ? device_runs_sm90 : device_runs_mma);
          },
          [choice = rung.choice](Device& device, const HeadShape& shape, float scale) {
            return std::make_unique<CudaAttentionKernels>(device, shape, scale, choice);
          },
          true, true};
}

PositionRun solid(std::int64_t first, std::int64_t count) { return {first, 1, 1, count}; }
std::vector<std::int64_t> from(std::int64_t first, std::int64_t count) {
  auto values = iota(count);
  for (auto& value : values) value += first;
  return values;
}
/// The definition of causal masks and windows; keys of the problem are at first_key + index.
Sees sees(const std::vector<std::int64_t>& positions, const Mask& mask, std::int64_t first_key) {
  return [&positions, mask, first_key](std::int64_t row, std::int64_t key) {
    if (mask.is_full()) return true;
    const std::int64_t query = positions[row], at = first_key + key;
    return at <= query && (!mask.is_windowed() || at > query - mask.keys());
  };
}
std::string text(const Mask& mask) {
  return mask.is_full() ? "full" : mask.is_windowed() ? str("window {}", mask.keys()) : "causal";
}

/// Where wrong values lie.
class Wrong {
 public:
  explicit Wrong(const HeadShape& shape) : shape_(shape) {}

  void add(std::int64_t item, int d, double found, double exact) {
    const std::int64_t row = item / shape_.query_heads;
    const int head = static_cast<int>(item % shape_.query_heads);
    rows_.insert(row), heads_.insert(head);
    ++by_row_[row % 8], ++by_warp_[row / 16 % 8], ++by_column_[d < 0 ? 0 : d / 8 % 16];
    if (std::isnan(found)) ++nan_;
    if (++count_ <= 10) {
      first_ += str("\n  row {} head {} {}: {:.6g}, not {:.6g}", row, head,
                    d < 0 ? std::string("lse") : str("d {}", d), found, exact);
    }
  }
  std::int64_t count() const { return count_; }
  std::string description() const {
    if (count_ == 0) return "";
    return str("{} wrong, {} of them NaN, in {} rows ({} to {}) of {} heads{}", count_, nan_,
               rows_.size(), *rows_.begin(), *rows_.rbegin(), heads_.size(), first_) +
           "\n  by row mod 8: " + testing::PrintToString(by_row_) +
           "\n  by row / 16 mod 8 (warp): " + testing::PrintToString(by_warp_) +
           "\n  by d / 8 (lse under 0): " + testing::PrintToString(by_column_);
  }

 private:
  HeadShape shape_;
  std::int64_t count_ = 0, nan_ = 0;
  std::set<std::int64_t> rows_;
  std::set<int> heads_;
  std::array<std::int64_t, 8> by_row_{}, by_warp_{};
  std::array<std::int64_t, 16> by_column_{};
  std::string first_;
};

double worst_output = 0, worst_lse = 0;

void expect_near(const Computed& found, const DenseResult& exact, const HeadShape& shape,
                 const std::string& what) {
  Wrong wrong(shape);
  for (std::size_t i = 0; i < exact.o.size(); ++i) {
    const double error = std::abs(found.o[i] - exact.o[i]);
    if (!std::isnan(error)) worst_output = std::max(worst_output, error);
    if (error <= kOutputTolerance) continue;
    const auto item = static_cast<std::int64_t>(i) / shape.head_dim;
    wrong.add(item, static_cast<int>(i) % shape.head_dim, found.o[i], exact.o[i]);
  }
  for (std::size_t i = 0; i < exact.lse.size(); ++i) {
    if (std::isinf(exact.lse[i]) && found.lse[i] == exact.lse[i]) continue;
    const double size = std::max(1.0, std::abs(exact.lse[i]));
    const double error = std::abs(found.lse[i] - exact.lse[i]) / size;
    if (std::isfinite(error)) worst_lse = std::max(worst_lse, error);
    if (error <= kLseTolerance) continue;
    wrong.add(static_cast<std::int64_t>(i), -1, found.lse[i], exact.lse[i]);
  }
  EXPECT_EQ(wrong.count(), 0) << what << ": " << wrong.description();
}

void expect_same_bits(const Computed& found, const Computed& other, const HeadShape& shape,
                      const std::string& what) {
  Wrong wrong(shape);
  for (std::size_t i = 0; i < other.o.size(); ++i) {
    if (found.o[i] == other.o[i]) continue;
    wrong.add(static_cast<std::int64_t>(i) / shape.head_dim, static_cast<int>(i) % shape.head_dim,
              found.o[i], other.o[i]);
  }
  for (std::size_t i = 0; i < other.lse.size(); ++i) {
    if (found.lse[i] != other.lse[i]) {
      wrong.add(static_cast<std::int64_t>(i), -1, found.lse[i], other.lse[i]);
    }
  }
  EXPECT_EQ(wrong.count(), 0) << what << ": " << wrong.description();
}

class TiledPrefill : public testing::TestWithParam<Rung> {
 protected:
  static void TearDownTestSuite() {
    std::printf("worst error, tiles: O %.3g (bar %.3g), lse %.3g (bar %.3g)\n", worst_output,
                kOutputTolerance, worst_lse, kLseTolerance);
  }
  void SetUp() override {
    if (!on_.has_device()) GTEST_SKIP() << "no Cuda device of compute capability 9.0";
  }

  /// Against the oracle; and a call that goes to the end has the same bits.
  void check(const DenseProblem& problem, const std::vector<std::int64_t>& positions,
             const Mask& mask, std::int64_t first_key, std::int64_t page_tokens,
             const std::string& what) {
    const DeviceKv kv(on_, problem, iota(problem.keys()), page_tokens);
    const KvSegment segment = kv.masked_segment(mask, solid(first_key, problem.keys()));
    const Prefill work{problem, positions, {{segment}}};
    const Computed found = on_.prefill(work);
    expect_near(found, dense_attention(problem, sees(positions, mask, first_key)), problem.shape,
                what);
    expect_same_bits(on_.prefill_whole(work, {nullptr}), found, problem.shape, what + ", whole");
  }

  KernelsOnDevice on_{backend(GetParam())};
};

HeadShape shape_of(int head_dim) { return {.query_heads = 2, .kv_heads = 1, .head_dim = head_dim}; }

DenseProblem problem_of(const HeadShape& shape, std::int64_t rows, std::int64_t keys,
                        std::uint32_t seed) {
  return rounded_to_bfloat16(random_problem(shape, rows, keys, seed));
}

/// The whole kernel at its simplest: one tile, one block, no mask. Look at this one first.
TEST_P(TiledPrefill, AOneTile) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 1, .kv_heads = 1, .head_dim = head_dim};
    check(problem_of(shape, 128, 128, 1), iota(128), Mask::full(), 0, 128,
          str("head size {}", head_dim));
  }
}

/// Blocks of one tile: stages are used again and again.
TEST_P(TiledPrefill, BManyBlocks) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 1, .kv_heads = 1, .head_dim = head_dim};
    for (std::int64_t blocks : {2, 3, 4, 5, 9, 16}) {
      check(problem_of(shape, 128, blocks * 128, 2), iota(128), Mask::full(), 0, 128,
            str("head size {}, {} blocks", head_dim, blocks));
    }
  }
}

TEST_P(TiledPrefill, TailsOfRowsAndColumns) {
  for (int head_dim : {64, 128}) {
    for (std::int64_t rows : {1, 63, 64, 65, 127, 128, 129}) {
      for (std::int64_t keys : {1, 63, 64, 65, 127, 128, 129, 300}) {
        const auto problem = problem_of(shape_of(head_dim), rows, keys, 3);
        const auto positions = from(std::max<std::int64_t>(keys - rows, 0), rows);
        for (const Mask& mask : {Mask::full(), Mask::causal()}) {
          for (std::int64_t page : {0, 16, 128}) {
            check(problem, positions, mask, 0, page,
                  str("head size {}, {} rows, {} keys, {}, pages of {}", head_dim, rows, keys,
                      text(mask), page));
          }
        }
      }
    }
  }
}

/// Off = 1 mod 64 and its neighbours, and windows.
TEST_P(TiledPrefill, OffsetsOfTheDiagonal) {
  for (int head_dim : {64, 128}) {
    const auto problem = problem_of(shape_of(head_dim), 200, 500, 4);
    for (std::int64_t first : {100, 101, 163, 164, 165, 228, 229, 400}) {
      for (const Mask& mask : {Mask::causal(), Mask::window(1), Mask::window(64), Mask::window(192),
                               Mask::window(201)}) {
        check(problem, from(first, 200), mask, 100, 16,
              str("head size {}, rows from {}, {}", head_dim, first, text(mask)));
      }
    }
  }
}

TEST_P(TiledPrefill, PagesOfEverySize) {
  for (int head_dim : {64, 128}) {
    const auto problem = problem_of(shape_of(head_dim), 130, 700, 5);
    for (std::int64_t page : {0, 8, 16, 32, 64, 128, 256, 512}) {
      check(problem, from(570, 130), Mask::causal(), 0, page,
            str("head size {}, pages of {}", head_dim, page));
    }
  }
}

TEST_P(TiledPrefill, RatiosOfHeads) {
  for (const HeadShape& shape :
       {HeadShape{8, 2, 128}, HeadShape{9, 3, 64}, HeadShape{4, 4, 128}, HeadShape{8, 1, 64},
        HeadShape{.query_heads = 5, .kv_heads = 2, .head_dim = 128, .ratio = 4, .lead = 2}}) {
    check(problem_of(shape, 150, 333, 6), from(183, 150), Mask::causal(), 0, 16,
          str("{}/{} heads of {}", shape.query_heads, shape.kv_heads, shape.head_dim));
  }
}

/// Segments of every layout: one launch, and a launch each, must give the same bits.
TEST_P(TiledPrefill, LayoutsAndCarriedStates) {
  for (int head_dim : {64, 128}) {
    constexpr std::int64_t kCached = 70, kNew = 700;
    for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                          Layout::kContiguous, Layout::kFolded}) {
      const Deal deal{layout, kCached, kNew, 3, 16};
      std::vector<std::int64_t> positions;
      for (const PositionRun& run : shard(deal, 1)) {
        for (std::int64_t i = 0; i < run.count; ++i) positions.push_back(run.position(i));
      }
      const auto problem = problem_of(shape_of(head_dim), std::ssize(positions), kCached + kNew, 7);
      for (const Mask& mask : {Mask::causal(), Mask::window(150)}) {
        std::vector<std::unique_ptr<DeviceKv>> held;
        std::vector<KvSegment> segments;
        const auto add = [&](const PositionRun& run, std::int64_t page) {
          std::vector<std::int64_t> keys;
          for (std::int64_t i = 0; i < run.count; ++i) keys.push_back(run.position(i));
          held.push_back(std::make_unique<DeviceKv>(on_, problem, keys, page));
          segments.push_back(held.back()->masked_segment(mask, run));
        };
        add(solid(0, kCached), 16);
        for (int rank = 0; rank < 3; ++rank) {
          for (const PositionRun& run : shard(deal, rank)) add(run, rank == 0 ? 0 : 16);
        }
        add(solid(5, 0), 16);  // an empty one
        const auto what = str("head size {}, {}, {}", head_dim, name(layout), text(mask));
        const Computed one = on_.prefill({problem, positions, {segments}});
        expect_near(one, dense_attention(problem, sees(positions, mask, 0)), problem.shape, what);
        std::vector<std::vector<KvSegment>> launches;
        for (const KvSegment& segment : segments) launches.push_back({segment});
        expect_same_bits(on_.prefill({problem, positions, launches}), one, problem.shape,
                         what + ", carried");
      }
    }
  }
}

/// More views than a launch knows, and rows each in a run of its own.
TEST_P(TiledPrefill, ManyViewsAndManyRuns) {
  for (int head_dim : {64, 128}) {
    const auto problem = problem_of(shape_of(head_dim), 90, 20 * 40, 8);
    auto positions = iota(90);
    for (auto& position : positions) position = position * 67 % 90 * 9 - 5;
    std::vector<std::unique_ptr<DeviceKv>> held;
    std::vector<KvSegment> segments;
    for (std::int64_t i = 0; i < 20; ++i) {
      held.push_back(std::make_unique<DeviceKv>(on_, problem, from(40 * i, 40), 0));
      segments.push_back(held.back()->causal_segment(solid(40 * i, 40)));
    }
    const Prefill work{problem, positions, {segments}};
    const Computed found = on_.prefill(work);
    expect_near(found, dense_attention(problem, sees(positions, Mask::causal(), 0)), problem.shape,
                str("head size {}", head_dim));
    expect_same_bits(on_.prefill_whole(work, {nullptr}), found, problem.shape,
                     str("head size {}, whole", head_dim));
  }
}

/// Scores of some keys are far above all before them, by more than a kernel may let weights grow,
/// in any quarter of a block; those of some rows, while others of their warp see nothing of the
/// kind.
TEST_P(TiledPrefill, MaximaRiseAnywhereInABlock) {
  for (int head_dim : {64, 128}) {
    auto problem = random_problem(shape_of(head_dim), 200, 700, 15);
    for (std::int64_t key : {3, 40, 70, 127, 128, 200, 255, 300, 420, 511, 600, 699}) {
      const float factor = 3.0f * static_cast<float>(1 + (699 - key) / 100);
      for (int d = 0; d < head_dim; ++d) problem.k[key * head_dim + d] *= factor;
    }
    problem = rounded_to_bfloat16(problem);
    for (const Mask& mask : {Mask::full(), Mask::causal(), Mask::window(300)}) {
      check(problem, from(500, 200), mask, 0, 16, str("head size {}, {}", head_dim, text(mask)));
    }
  }
}

/// Alone in their tiles, and beside others, whose values are infinite in part.
TEST_P(TiledPrefill, RowsThatSeeNothingAreEmpty) {
  for (std::int64_t first_key : {1, 64, 100, 127, 150}) {
    auto problem = problem_of(shape_of(128), 200, 100, 9);
    problem.v[0] = std::numeric_limits<float>::infinity();  // of a key that all others see
    const DeviceKv kv(on_, problem, iota(100), 16);
    const Prefill work{problem, iota(200), {{kv.causal_segment(solid(first_key, 100))}, {}}};
    const Computed found = on_.prefill(work);
    expect_same_bits(on_.prefill_whole(work, {nullptr, nullptr}), found, problem.shape,
                     str("keys from {}, whole", first_key));
    for (std::int64_t item = 0; item < 400; ++item) {
      const bool sees = item / 2 >= first_key;
      ASSERT_EQ(std::isfinite(found.lse[item]), sees) << first_key << ", row " << item / 2;
      ASSERT_EQ(std::isinf(found.o[item * 128]), sees) << first_key << ", row " << item / 2;
      for (int d = 0; d < 128 && !sees; ++d) {
        ASSERT_EQ(found.o[item * 128 + d], 0.0f) << first_key << ", row " << item / 2;
      }
    }
  }
}

TEST_P(TiledPrefill, ARowsBitsDoNotDependOnItsNeighbours) {
  for (int head_dim : {64, 128}) {
    const auto problem = problem_of(shape_of(head_dim), 200, 900, 10);
    const DeviceKv kv(on_, problem, iota(900), 16);
    const KvSegment segment = kv.causal_segment(solid(0, 900));
    const Computed all = on_.prefill({problem, from(700, 200), {{segment}}});
    const std::int64_t values = 2 * head_dim;
    for (std::int64_t row : {0, 63, 64, 127, 128, 199}) {
      DenseProblem alone = problem;
      alone.q.assign(problem.q.begin() + row * values, problem.q.begin() + (row + 1) * values);
      const Computed one = on_.prefill({alone, {700 + row}, {{segment}}});
      const Computed same{{all.o.begin() + row * values, all.o.begin() + (row + 1) * values},
                          {all.lse.begin() + row * 2, all.lse.begin() + (row + 1) * 2}};
      expect_same_bits(one, same, problem.shape, str("head size {}, row {}", head_dim, row));
    }
  }
}

/// Twenty runs; and each of Hopper's rungs has the bits of the plainest.
TEST_P(TiledPrefill, RepetitionsAndRungsChangeNoBits) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 16, .kv_heads = 4, .head_dim = head_dim};
    const auto problem = problem_of(shape, 1500, 2100, 11);
    const DeviceKv kv(on_, problem, iota(2100), 16);
    const Prefill work{problem, from(600, 1500), {{kv.causal_segment(solid(0, 2100))}}};
    const Computed first = on_.prefill(work);
    for (int repeat = 1; repeat < 20; ++repeat) {
      expect_same_bits(on_.prefill(work), first, shape,
                       str("head size {}, repetition {}", head_dim, repeat));
      if (HasFailure()) return;
    }
    if (GetParam().choice.prefill != PrefillKernel::kSm90) continue;
    KernelsOnDevice plain(backend(rungs().front()));
    const DeviceKv plain_kv(plain, problem, iota(2100), 16);
    expect_same_bits(
        plain.prefill({problem, work.positions, {{plain_kv.causal_segment(solid(0, 2100))}}}),
        first, shape, str("head size {}, in order", head_dim));
  }
}

/// All multiprocessors wait in the midst of their first tiles.
TEST_P(TiledPrefill, AFullGpuWaitsForWhatArrives) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 32, .kv_heads = 8, .head_dim = head_dim};
    const auto problem = problem_of(shape, 1500, 2100, 14);
    DeviceKv own(on_, problem, iota(700), 16), other(on_, problem, from(700, 1400), 0);
    const Prefill work{
        problem,
        from(600, 1500),
        {{own.causal_segment(solid(0, 700))}, {other.causal_segment(solid(700, 1400))}}};
    const Computed there = on_.prefill(work);
    for (const bool beside_kernels : {true, false}) {
      expect_same_bits(on_.prefill_whole(work, {nullptr, &other}, beside_kernels), there, shape,
                       str("head size {}, beside kernels {}", head_dim, beside_kernels));
    }
  }
}

/// Many tiles on every multiprocessor, against the reference kernel.
TEST_P(TiledPrefill, ManyTilesAgreeWithTheReferenceKernel) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 32, .kv_heads = 8, .head_dim = head_dim};
    const auto problem = problem_of(shape, 2000, 2000, 12);
    KernelsOnDevice reference(backend({"Reference", {}}));
    for (const Mask& mask : {Mask::causal(), Mask::full()}) {
      const auto run = [&](KernelsOnDevice& on) {
        const DeviceKv kv(on, problem, iota(2000), 128);
        return on.prefill({problem, iota(2000), {{kv.masked_segment(mask, solid(0, 2000))}}});
      };
      const Computed exact = run(reference);
      expect_near(run(on_),
                  {{exact.o.begin(), exact.o.end()}, {exact.lse.begin(), exact.lse.end()}}, shape,
                  str("head size {}, {}", head_dim, text(mask)));
    }
  }
}

/// States at any float: stores in pairs are not possible then.
TEST_P(TiledPrefill, StatesMayBeginAtAnyFloat) {
  const auto problem = problem_of(shape_of(128), 130, 200, 13);
  const DeviceKv kv(on_, problem, iota(200), 16);
  const Prefill work{problem, from(70, 130), {{kv.causal_segment(solid(0, 200))}}};
  const Computed aligned = on_.prefill(work);
  for (std::size_t shift : {1, 2, 3}) {
    on_.shift_arrays(shift);
    expect_same_bits(on_.prefill(work), aligned, problem.shape, str("shifted by {}", shift));
    expect_same_bits(on_.prefill_whole(work, {nullptr}), aligned, problem.shape,
                     str("shifted by {}, whole", shift));
  }
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Cuda, TiledPrefill, testing::ValuesIn(rungs()),
                         [](const auto& rung) { return rung.param.name; });

}  // namespace longspan::test
