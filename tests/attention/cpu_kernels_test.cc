#include "attention/cpu/cpu_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <tuple>

#include "attention/cpu/instruction_set.h"
#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "tests/attention/dense_attention.h"
#include "tests/attention/wide_lanes.h"

namespace longspan {
namespace {

using test::DenseProblem;
using test::DenseResult;
using test::PagedKv;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kTolerance = 1e-5;

#ifdef __SANITIZE_THREAD__
constexpr int kManyThreads = 1;  // OpenMP's barriers are invisible to ThreadSanitizer
#else
constexpr int kManyThreads = 2;
#endif

bool is_supported(const CompiledKernels& kernels) {
  const auto supported = supported_kernels();
  return std::ranges::find(supported, &kernels) != supported.end();
}

/// All that this machine supports, and AVX-512's logic where only AVX2 is.
std::vector<const CompiledKernels*> tested_kernels() {
  auto kernels = supported_kernels();
  if (is_supported(kAvx2Kernels)) kernels.push_back(&test::kWideLanesKernels);
  return kernels;
}

struct Computed {
  std::vector<float> o;
  std::vector<float> lse;
  bool operator==(const Computed&) const = default;
};

struct State {
  State(std::int64_t items, int head_dim) : acc(items * head_dim, kNan), m(items, kNan), l(m) {}
  RunningState view() { return {acc.data(), m.data(), l.data()}; }
  std::vector<float> acc, m, l;
};

/// Query rows at positions, and launches of segment lists.
struct Prefill {
  const DenseProblem& problem;
  std::vector<std::int64_t> positions;
  std::vector<std::vector<KvSegment>> launches;
};

class CpuKernelsTest : public ::testing::TestWithParam<const CompiledKernels*> {
 protected:
  static std::map<std::string, double>& worst() {
    static std::map<std::string, double> errors;
    return errors;
  }
  static void TearDownTestSuite() {
    for (const auto& [group, error] : worst()) {
      std::printf("worst error, %-44s %.3g\n", group.c_str(), error);
    }
  }

  Computed prefill(const Prefill& work, int threads = 1) {
    const HeadShape& shape = work.problem.shape;
    const std::int64_t rows = work.problem.rows(), items = rows * shape.query_heads;
    CpuAttentionKernels kernels(shape, work.problem.scale, *GetParam());
    State state(items, shape.head_dim);
    Computed out{std::vector<float>(items * shape.head_dim, kNan), std::vector<float>(items, kNan)};
    const auto stream = CpuDevice(threads).new_stream();
    kernels.reset(*stream, state.view(), rows);
    for (const auto& segments : work.launches) {
      kernels.attend(*stream, {work.problem.q.data(), work.positions}, segments, state.view());
    }
    kernels.finish(*stream, state.view(), {out.o.data(), out.lse.data()}, rows);
    stream->synchronize();
    return out;
  }

  /// Row i of the problem's queries sees all columns of segments[i].
  Computed decode(const DenseProblem& problem, const std::vector<std::vector<KvSegment>>& segments,
                  int threads = 1) {
    const HeadShape& shape = problem.shape;
    const std::int64_t values = shape.query_heads * shape.head_dim;
    CpuAttentionKernels kernels(shape, problem.scale, *GetParam());
    Computed out{std::vector<float>(problem.rows() * values, kNan),
                 std::vector<float>(problem.rows() * shape.query_heads, kNan)};
    std::vector<DecodeRow> rows;
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const Partial of_row{out.o.data() + i * values, out.lse.data() + i * shape.query_heads};
      rows.push_back({problem.q.data() + i * values, segments[i], of_row});
    }
    const auto stream = CpuDevice(threads).new_stream();
    kernels.decode(*stream, rows);
    stream->synchronize();
    return out;
  }

  void expect_near(const Computed& computed, const DenseResult& exact, const std::string& group,
                   const std::string& what) {
    double error = 0;
    for (std::size_t i = 0; i < exact.o.size(); ++i) {
      const double difference = std::abs(computed.o[i] - exact.o[i]);
      error = std::isnan(difference) ? difference : std::max(error, difference);
      if (std::isnan(error)) break;
    }
    for (std::size_t i = 0; i < exact.lse.size() && !std::isnan(error); ++i) {
      if (std::isinf(exact.lse[i])) {
        EXPECT_EQ(computed.lse[i], exact.lse[i]) << group << ", " << what;
        continue;
      }
      const double size = std::max(1.0, std::abs(exact.lse[i]));
      const double difference = std::abs(computed.lse[i] - exact.lse[i]) / size;
      error = std::isnan(difference) ? difference : std::max(error, difference);
    }
    EXPECT_LE(error, kTolerance) << group << ", " << what;
    const std::string key = std::string(GetParam()->name) + ": " + group;
    if (!(error <= worst()[key])) worst()[key] = error;
  }
};

std::string text(const HeadShape& shape) {
  return "heads " + std::to_string(shape.query_heads) + "/" + std::to_string(shape.kv_heads) +
         " of " + std::to_string(shape.head_dim);
}

std::string text(std::initializer_list<std::int64_t> numbers) {
  std::string all;
  for (std::int64_t number : numbers) all += std::to_string(number) + " ";
  return all;
}

constexpr PositionRun solid(std::int64_t first, std::int64_t count) {
  return {.first = first, .block = 1, .stride = 1, .count = count};
}

const HeadShape kShapes[] = {{1, 1, 16}, {9, 3, 64},  {4, 4, 24},  {8, 2, 80},
                             {8, 1, 64}, {16, 2, 32}, {4, 2, 128}, {3, 1, 256}};

TEST_P(CpuKernelsTest, EveryHeadShapeEqualsTheOracle) {
  for (const HeadShape& shape : kShapes) {
    const auto problem = test::random_problem(shape, 37, 130, 1);
    const PagedKv kv(problem, test::iota(130), 16);
    const auto full = test::dense_attention(problem, [](auto, auto) { return true; });
    expect_near(prefill({problem, test::iota(37), {{kv.full_segment()}}}), full, "head shapes",
                "full " + text(shape));
    expect_near(decode(problem, std::vector(37, std::vector{kv.full_segment()})), full,
                "head shapes", "decode " + text(shape));
    const auto causal =
        test::dense_attention(problem, [](auto row, auto key) { return key <= row + 60; });
    auto positions = test::iota(37);
    for (auto& position : positions) position += 60;
    expect_near(prefill({problem, positions, {{kv.causal_segment(solid(0, 130))}}}), causal,
                "head shapes", "causal " + text(shape));
  }
}

TEST_P(CpuKernelsTest, ManyQueryHeadsPerKvHeadSpanTiles) {
  const HeadShape shape{.query_heads = 200, .kv_heads = 2, .head_dim = 16};
  const auto problem = test::random_problem(shape, 5, 70, 3);
  const PagedKv kv(problem, test::iota(70), 16);
  const auto causal =
      test::dense_attention(problem, [](auto row, auto key) { return key <= row + 60; });
  const std::vector<std::int64_t> positions{60, 61, 62, 63, 64};
  expect_near(prefill({problem, positions, {{kv.causal_segment(solid(0, 70))}}}), causal,
              "many heads", "prefill");
  const auto full = test::dense_attention(problem, [](auto, auto) { return true; });
  expect_near(decode(problem, std::vector(5, std::vector{kv.full_segment()})), full, "many heads",
              "decode");
}

TEST_P(CpuKernelsTest, EveryLengthAndPageSizeEqualsTheOracle) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  for (std::int64_t keys : {0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 1000}) {
    for (std::int64_t rows : {1, 2, 31, 32, 33}) {
      const auto problem = test::random_problem(shape, rows, keys, 5);
      const auto causal = test::dense_attention(problem, std::greater_equal<>());
      const auto full = test::dense_attention(problem, [](auto, auto) { return true; });
      for (std::int64_t page_tokens : {0, 1, 16, 128}) {
        const PagedKv kv(problem, test::iota(keys), page_tokens);
        const auto what = "rows, keys, page: " + text({rows, keys, page_tokens});
        expect_near(prefill({problem, test::iota(rows), {{kv.full_segment()}}}), full, "lengths",
                    what);
        expect_near(prefill({problem, test::iota(rows), {{kv.causal_segment(solid(0, keys))}}}),
                    causal, "lengths", what);
        expect_near(decode(problem, std::vector(rows, std::vector{kv.full_segment()})), full,
                    "lengths", "decode " + what);
      }
    }
  }
}

/// Row i and key j of rank-local streams see each other by position, whatever the layout is.
TEST_P(CpuKernelsTest, CausalMasksFollowPositionsInEveryLayout) {
  const HeadShape shape{.query_heads = 6, .kv_heads = 2, .head_dim = 24};
  constexpr std::int64_t kCached = 37, kNew = 205, kKeys = kCached + kNew;
  for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag}) {
    for (const auto& [ranks, query_rank] : {std::pair{1, 0}, {2, 1}, {3, 0}, {5, 4}}) {
      const Deal deal{layout, kCached, kNew, ranks, 16};
      std::vector<std::int64_t> positions;
      for (const PositionRun& run : shard(deal, query_rank)) {
        for (std::int64_t i = 0; i < run.count; ++i) positions.push_back(run.position(i));
      }
      const auto problem = test::random_problem(shape, std::ssize(positions), kKeys, 11);
      const auto exact =
          test::dense_attention(problem, [&](auto row, auto key) { return key <= positions[row]; });
      // Cached tokens first, then each rank's new ones, a launch each as a ring would.
      std::vector<std::unique_ptr<PagedKv>> held;
      held.push_back(std::make_unique<PagedKv>(problem, test::iota(kCached), 16));
      std::vector<std::vector<KvSegment>> launches{{held.back()->full_segment()}};
      for (int rank = 0; rank < ranks; ++rank) {
        launches.emplace_back();
        for (const PositionRun& run : shard(deal, rank)) {
          std::vector<std::int64_t> keys;
          for (std::int64_t i = 0; i < run.count; ++i) keys.push_back(run.position(i));
          held.push_back(std::make_unique<PagedKv>(problem, keys, 16));
          launches.back().push_back(held.back()->causal_segment(run));
        }
      }
      expect_near(prefill({problem, positions, launches}), exact, "layouts",
                  std::string(name(layout)) + " ranks " + std::to_string(ranks));
    }
  }
}

TEST_P(CpuKernelsTest, RowsInAnyOrderOfPositionAreMaskedEachByItself) {
  const HeadShape shape{.query_heads = 2, .kv_heads = 1, .head_dim = 16};
  const auto problem = test::random_problem(shape, 100, 150, 13);
  auto positions = test::iota(100);
  for (auto& position : positions) position = position * 67 % 100 * 3 / 2 - 5;
  const PagedKv kv(problem, test::iota(150), 16);
  const auto exact =
      test::dense_attention(problem, [&](auto row, auto key) { return key <= positions[row]; });
  expect_near(prefill({problem, positions, {{kv.causal_segment(solid(0, 150))}}}), exact,
              "rows in any order", "");
}

TEST_P(CpuKernelsTest, ARowThatSeesNothingIsEmpty) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  const auto problem = test::random_problem(shape, 4, 40, 17);
  const PagedKv kv(problem, test::iota(40), 16);
  const Computed masked = prefill({problem, {0, 1, 2, 3}, {{kv.causal_segment(solid(2, 40))}, {}}});
  const PagedKv none(problem, {}, 16);
  const Computed no_keys = prefill({problem, {0, 1, 2, 3}, {{none.full_segment()}}});
  const Computed no_segments = prefill({problem, {0, 1, 2, 3}, {}});
  for (std::size_t i = 0; i < 2u * 3 * 16; ++i) EXPECT_EQ(masked.o[i], 0.0f);
  for (std::size_t i = 0; i < 2u * 3; ++i) EXPECT_TRUE(std::isinf(masked.lse[i]));
  EXPECT_FALSE(std::isinf(masked.lse[2 * 3]));
  EXPECT_EQ(no_keys, no_segments);
  EXPECT_TRUE(std::ranges::all_of(no_keys.o, [](float x) { return x == 0.0f; }));
  EXPECT_EQ(no_segments, decode(problem, {{}, {none.full_segment()}, {}, {}}));
}

TEST_P(CpuKernelsTest, NanInKeysARowDoesNotSeeStaysAway) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  auto problem = test::random_problem(shape, 40, 64, 19);
  const auto exact = test::dense_attention(problem, std::greater_equal<>());
  const std::int64_t first_poisoned = 20L * 16;
  std::fill(problem.k.begin() + first_poisoned, problem.k.end(), kNan);
  std::fill(problem.v.begin() + first_poisoned, problem.v.end(), kNan);
  const PagedKv kv(problem, test::iota(64), 16);
  const Computed computed = prefill({problem, test::iota(40), {{kv.causal_segment(solid(0, 64))}}});
  for (std::size_t i = 0; i < computed.o.size(); ++i) {
    const bool poisoned = i / (3 * 16) >= 20;
    ASSERT_EQ(std::isnan(computed.o[i]), poisoned) << "value " << i;
    if (poisoned) continue;
    ASSERT_NEAR(computed.o[i], exact.o[i], kTolerance);
  }
}

TEST_P(CpuKernelsTest, HugeLogitsAndConstantKeysStayExact) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 64};
  auto problem = test::random_problem(shape, 20, 1000, 23);
  const auto check = [&](const std::string& group) {
    const auto causal =
        test::dense_attention(problem, [](auto row, auto key) { return key <= row + 980; });
    auto positions = test::iota(20);
    for (auto& position : positions) position += 980;
    const PagedKv kv(problem, test::iota(1000), 16);
    expect_near(prefill({problem, positions, {{kv.causal_segment(solid(0, 1000))}}}), causal, group,
                "prefill");
    const auto full = test::dense_attention(problem, [](auto, auto) { return true; });
    expect_near(decode(problem, std::vector(20, std::vector{kv.full_segment()})), full, group,
                "decode");
  };
  for (std::int64_t far : {999, 0, 985}) {
    const auto before = problem;
    for (int d = 0; d < 64; ++d) problem.k[far * 64 + d] = 500 * problem.q[d];
    check("one huge logit");
    problem = before;
  }
  for (std::int64_t key = 1; key < 1000; ++key) {
    std::copy_n(problem.k.begin(), 64, problem.k.begin() + key * 64);
  }
  check("constant keys");
}

TEST_P(CpuKernelsTest, CarryingOverLaunchesChangesNoBits) {
  const HeadShape shape{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  const auto problem = test::random_problem(shape, 50, 900, 29);
  auto positions = test::iota(50);
  for (auto& position : positions) position += 850;
  std::vector<std::unique_ptr<PagedKv>> held;
  std::vector<KvSegment> segments;
  std::int64_t begin = 0;
  for (std::int64_t length : {100, 1, 0, 199, 64, 300, 36, 200}) {
    std::vector<std::int64_t> keys(length);
    std::iota(keys.begin(), keys.end(), begin);
    held.push_back(std::make_unique<PagedKv>(problem, keys, 16));
    segments.push_back(held.back()->causal_segment(solid(begin, length)));
    begin += length;
  }
  std::vector<std::vector<KvSegment>> launches;
  for (const KvSegment& segment : segments) launches.push_back({segment});
  const Computed one = prefill({problem, positions, {segments}});
  EXPECT_EQ(one, prefill({problem, positions, launches}));
  const auto exact =
      test::dense_attention(problem, [&](auto row, auto key) { return key <= positions[row]; });
  expect_near(one, exact, "carry", "");
}

TEST_P(CpuKernelsTest, ARowsBitsDoNotDependOnItsNeighbours) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 32};
  const auto problem = test::random_problem(shape, 70, 700, 31);
  auto positions = test::iota(70);
  for (auto& position : positions) position += 610;
  const PagedKv kv(problem, test::iota(700), 16);
  const Computed all = prefill({problem, positions, {{kv.causal_segment(solid(0, 700))}}});
  const Computed decoded = decode(problem, std::vector(70, std::vector{kv.full_segment()}));
  const std::int64_t values = 3 * 32;
  for (std::int64_t row : {0, 33, 69}) {
    DenseProblem alone = problem;
    alone.q.assign(problem.q.begin() + row * values, problem.q.begin() + (row + 1) * values);
    const Computed one = prefill({alone, {positions[row]}, {{kv.causal_segment(solid(0, 700))}}});
    EXPECT_TRUE(std::equal(one.o.begin(), one.o.end(), all.o.begin() + row * values));
    const Computed one_decoded = decode(alone, {{kv.full_segment()}});
    EXPECT_TRUE(
        std::equal(one_decoded.o.begin(), one_decoded.o.end(), decoded.o.begin() + row * values));
  }
}

TEST_P(CpuKernelsTest, ThreadsAndRepetitionsChangeNoBits) {
  const HeadShape shape{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  const auto problem = test::random_problem(shape, 150, 1300, 37);
  auto positions = test::iota(150);
  for (auto& position : positions) position += 1150;
  const PagedKv kv(problem, test::iota(1300), 16);
  const Prefill work{problem, positions, {{kv.causal_segment(solid(0, 1300))}}};
  const std::vector segments(9, std::vector{kv.full_segment()});
  DenseProblem few = problem;
  few.q.resize(9L * 9 * 64);
  const Computed prefilled = prefill(work), decoded = decode(few, segments);
  for (int repeat = 0; repeat < 20; ++repeat) {
    ASSERT_EQ(prefilled, prefill(work, 1 + repeat % kManyThreads));
    ASSERT_EQ(decoded, decode(few, segments, 1 + repeat % kManyThreads));
  }
}

TEST_P(CpuKernelsTest, DecodeReadsSegmentsEndToEnd) {
  const HeadShape shape{.query_heads = 8, .kv_heads = 2, .head_dim = 64};
  for (std::int64_t keys : {511, 512, 513, 1024, 1025, 3000}) {
    const auto problem = test::random_problem(shape, 2, keys, 41);
    const auto exact = test::dense_attention(problem, [](auto, auto) { return true; });
    const PagedKv whole(problem, test::iota(keys), 16);
    std::vector<std::unique_ptr<PagedKv>> held;
    std::vector<KvSegment> pieces;
    std::int64_t begin = 0;
    for (std::int64_t length = 1; begin < keys; length = length * 3 % 1001) {
      std::vector<std::int64_t> part(std::min(length, keys - begin));
      std::iota(part.begin(), part.end(), begin);
      held.push_back(std::make_unique<PagedKv>(problem, part, 16));
      pieces.push_back(held.back()->full_segment());
      begin += std::ssize(part);
    }
    const Computed computed = decode(problem, {{whole.full_segment()}, pieces});
    expect_near(computed, exact, "decode over segments", text({keys}));
    // The same columns, however stored, are the same splits and tiles.
    EXPECT_EQ(decode(problem, {pieces, {whole.full_segment()}}), computed);
  }
}

TEST_P(CpuKernelsTest, RowsOfOneBatchMayHaveAnyLengths) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 32};
  const std::vector<std::int64_t> lengths{1, 0, 1700, 512, 7};
  const auto problem = test::random_problem(shape, std::ssize(lengths), 1700, 43);
  const auto exact =
      test::dense_attention(problem, [&](auto row, auto key) { return key < lengths[row]; });
  std::vector<std::unique_ptr<PagedKv>> held;
  std::vector<std::vector<KvSegment>> segments;
  for (std::int64_t length : lengths) {
    held.push_back(std::make_unique<PagedKv>(problem, test::iota(length), 16));
    segments.push_back({held.back()->full_segment()});
  }
  expect_near(decode(problem, segments, kManyThreads), exact, "ragged decode", "");
}

std::string kernel_name(const ::testing::TestParamInfo<const CompiledKernels*>& info) {
  std::string name = info.param->name;
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(AllInstructionSets, CpuKernelsTest, ::testing::ValuesIn(tested_kernels()),
                         kernel_name);

TEST(CpuKernels, CopiesColumnsToPositionsInBlocks) {
  const HeadShape shape{.query_heads = 1, .kv_heads = 1, .head_dim = 16};
  const auto problem = test::random_problem(shape, 1, 100, 48);
  const auto kernels = new_cpu_attention_kernels(shape, 1.0f);
  const PositionRun columns{.first = 3, .block = 2, .stride = 7, .count = 25};
  const PagedKv from(problem, test::iota(100), 0);
  DenseProblem blank = problem;
  std::ranges::fill(blank.k, -1.0f);
  const PagedKv to(blank, test::iota(100), 5, 2);
  const auto stream = CpuDevice(1).new_stream();
  kernels->copy_kv(*stream, {{from.view(), 40, to.view(), columns}});
  stream->synchronize();
  std::vector<float> expected(100, -1.0f);
  for (std::int64_t i = 0; i < columns.count; ++i) {
    expected[columns.position(i)] = problem.k[(40 + i) * 16];
  }
  for (std::int64_t column = 0; column < 100; ++column) {
    EXPECT_EQ(to.view().k[to.view().offset(column, 0, 16)], expected[column]) << column;
  }
}

TEST(CpuKernels, CopiesColumnsBetweenAnyPages) {
  const HeadShape shape{.query_heads = 2, .kv_heads = 2, .head_dim = 16};
  const auto problem = test::random_problem(shape, 1, 100, 47);
  const auto kernels = new_cpu_attention_kernels(shape, 1.0f);
  for (const auto& [from_page, to_page] : {std::pair{16, 16}, {16, 1}, {0, 128}, {7, 5}}) {
    const PagedKv from(problem, test::iota(100), from_page);
    DenseProblem blank = problem;
    std::ranges::fill(blank.k, -1.0f), std::ranges::fill(blank.v, -1.0f);
    const PagedKv to(blank, test::iota(100), to_page, 2);
    const auto stream = CpuDevice(1).new_stream();
    kernels->copy_kv(*stream, {{from.view(), 13, to.view(), {21, 67, 67, 67}},
                               {from.view(), 5, to.view(), {.first = 0, .count = 0}}});
    stream->synchronize();
    for (std::int64_t column = 0; column < 100; ++column) {
      const bool copied = column >= 21 && column < 21 + 67;
      for (int head = 0; head < 2; ++head) {
        const float* k = to.view().k + to.view().offset(column, head, 16);
        const float* v = to.view().v + to.view().offset(column, head, 16);
        const std::int64_t source = ((column - 8) * 2 + head) * 16;
        for (int d = 0; d < 16; ++d) {
          ASSERT_EQ(k[d], copied ? problem.k[source + d] : -1.0f) << column;
          ASSERT_EQ(v[d], copied ? problem.v[source + d] : -1.0f) << column;
        }
      }
    }
  }
}

TEST(CpuKernels, RunAtTheInstructionSetThatIsAskedFor) {
  for (const CompiledKernels* kernel : supported_kernels()) {
    EXPECT_EQ(&choose_kernels(kernel->name), kernel);
  }
  EXPECT_EQ(&choose_kernels(nullptr), supported_kernels().front());
  EXPECT_EQ(&choose_kernels(""), supported_kernels().front());
  EXPECT_THROW(choose_kernels("sse9"), ConfigError);
}

TEST(CpuKernels, SayWhichInstructionSetsWentUntested) {
  for (const CompiledKernels* kernels : {&kScalarKernels, &kAvx2Kernels, &kAvx512Kernels}) {
    std::printf("%s: %s\n", kernels->name,
                is_supported(*kernels) ? "tested" : "skipped, this machine lacks it");
  }
}

TEST(CpuKernels, RefuseShapesTheyCannotCompute) {
  const CompiledKernels& kernel = kScalarKernels;
  EXPECT_THROW(CpuAttentionKernels({3, 2, 64}, 1.0f, kernel), std::logic_error);
  EXPECT_THROW(CpuAttentionKernels({2, 2, 8}, 1.0f, kernel), std::logic_error);
  EXPECT_THROW(CpuAttentionKernels({2, 2, 20}, 1.0f, kernel), std::logic_error);
  EXPECT_THROW(CpuAttentionKernels({2, 2, 264}, 1.0f, kernel), std::logic_error);
}

}  // namespace
}  // namespace longspan
