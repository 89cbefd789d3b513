// The decode kernel on matrix units at the sizes that hurt it, on keys and values that bfloat16
// holds exactly: queries and weights keep 16 bits and more, so the oracle is near. Free slots and
// tails of pages are NaN throughout.
//
//   --gtest_filter='*AOneTile*'      the plainest case alone
#include "attention/cuda/decode_mma.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "attention/cuda/cuda_kernels.h"
#include "attention/cuda/decode_plan.h"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/str.h"
#include "tests/attention/cuda/first_gpu.h"
#include "tests/attention/dense_attention.h"
#include "tests/attention/kernels_on_device.h"

namespace longspan::test {
namespace {

/// Of O, absolute, and of lse, relative to max(1, |lse|): a score is off by some 2^-18 of |q||k|,
/// a weight by as much of itself.
constexpr double kTolerance = 4e-5;

KernelsBackend backend(const KernelChoice& choice) {
  return {"MmaDecode", [] { return first_gpu(device_runs_mma); },
          [choice](Device& device, const HeadShape& shape, float scale) {
            return std::make_unique<CudaAttentionKernels>(device, shape, scale, choice);
          },
          true, true};
}
constexpr KernelChoice kByMma{.mma_decode = true};

/// Keys and values as bfloat16 holds them; queries stay what they are.
DenseProblem problem_of(const HeadShape& shape, std::int64_t rows, std::int64_t keys,
                        std::uint32_t seed) {
  const DenseProblem fine = random_problem(shape, rows, keys, seed);
  DenseProblem problem = rounded_to_bfloat16(fine);
  problem.q = fine.q;
  return problem;
}

DenseProblem row_alone(const DenseProblem& problem, std::int64_t row) {
  const std::int64_t values = query_values(problem.shape);
  DenseProblem alone = problem;
  alone.q.assign(problem.q.begin() + row * values, problem.q.begin() + (row + 1) * values);
  return alone;
}

Computed row_of(const Computed& all, std::int64_t row, const HeadShape& shape) {
  const std::int64_t values = query_values(shape), heads = shape.query_heads;
  return {{all.o.begin() + row * values, all.o.begin() + (row + 1) * values},
          {all.lse.begin() + row * heads, all.lse.begin() + (row + 1) * heads}};
}

bool sees_all(std::int64_t, std::int64_t) { return true; }

double worst_output = 0, worst_lse = 0;

/// The first wrong values, by row, head and dimension.
void expect_near(const Computed& found, const DenseResult& exact, const HeadShape& shape,
                 const std::string& what) {
  int wrong = 0;
  std::string first;
  const auto look = [&](std::size_t item, std::int64_t d, double value, double right, double error,
                        double& worst) {
    if (std::isfinite(error)) worst = std::max(worst, error);
    if (error <= kTolerance || ++wrong > 10) return;
    first +=
        str("\n  row {} head {} {}: {:.7g}, not {:.7g}", item / shape.query_heads,
            item % shape.query_heads, d < 0 ? std::string("lse") : str("d {}", d), value, right);
  };
  for (std::size_t i = 0; i < exact.o.size(); ++i) {
    look(i / shape.head_dim, static_cast<std::int64_t>(i % shape.head_dim), found.o[i], exact.o[i],
         std::abs(found.o[i] - exact.o[i]), worst_output);
  }
  for (std::size_t i = 0; i < exact.lse.size(); ++i) {
    const bool is_empty = std::isinf(exact.lse[i]) && found.lse[i] == exact.lse[i];
    const double size = std::max(1.0, std::abs(exact.lse[i]));
    look(i, -1, found.lse[i], exact.lse[i],
         is_empty ? 0.0 : std::abs(found.lse[i] - exact.lse[i]) / size, worst_lse);
  }
  EXPECT_EQ(wrong, 0) << what << ": " << wrong << " wrong" << first;
}

class DecodeMma : public testing::Test {
 protected:
  static void TearDownTestSuite() {
    std::printf("worst error, decode on matrix units: O %.3g, lse %.3g (bar %.3g)\n", worst_output,
                worst_lse, kTolerance);
  }
  void SetUp() override {
    if (!on_.has_device()) GTEST_SKIP() << "no Cuda device of compute capability 8.0";
  }

  /// All rows see all keys.
  void check(const DenseProblem& problem, std::int64_t page_tokens, const std::string& what) {
    const DeviceKv kv(on_, problem, iota(problem.keys()), page_tokens);
    const std::vector segments(problem.rows(), std::vector{kv.full_segment()});
    expect_near(on_.decode(problem, segments), dense_attention(problem, sees_all), problem.shape,
                what);
  }

  KernelsOnDevice on_{backend(kByMma)};
};

/// The whole kernel at its simplest. Look at this one first.
TEST_F(DecodeMma, AOneTile) {
  for (int head_dim : {64, 128}) {
    check(problem_of({1, 1, head_dim}, 1, 16, 1), 16, str("head size {}", head_dim));
  }
}

/// Stages are used again and again, by one warp.
TEST_F(DecodeMma, BManyTilesOfASplit) {
  for (int head_dim : {64, 128}) {
    for (std::int64_t tiles : {2, 3, 4}) {
      check(problem_of({1, 1, head_dim}, 1, tiles * 16, 2), 16,
            str("head size {}, {} tiles", head_dim, tiles));
    }
    check(problem_of({1, 1, head_dim}, 1, 8192, 2), 16, str("head size {}, 16 tiles", head_dim));
  }
}

TEST_F(DecodeMma, EveryLengthAndPageSize) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 4, .kv_heads = 1, .head_dim = head_dim};
    for (std::int64_t keys : {1,   2,   7,   8,   9,   15,   16,   17,   31,   32,   33,   47,  48,
                              49,  63,  64,  65,  80,  127,  128,  129,  191,  192,  193,  255, 256,
                              257, 511, 512, 513, 777, 2047, 2048, 2049, 4096, 4097, 8191, 8193}) {
      const auto problem = problem_of(shape, 2, keys, 3);
      for (std::int64_t page : {0, 1, 5, 8, 16, 64, 128, 512}) {
        check(problem, page, str("head size {}, {} keys, pages of {}", head_dim, keys, page));
      }
    }
  }
}

TEST_F(DecodeMma, RatiosOfHeads) {
  for (int head_dim : {64, 128}) {
    for (int kv_heads : {1, 2, 3}) {
      for (int group = 1; group <= 9; ++group) {  // nine go to the reference kernel
        const HeadShape shape{group * kv_heads, kv_heads, head_dim};
        check(problem_of(shape, 3, 333, 4), 16,
              str("{}/{} heads of {}", shape.query_heads, kv_heads, head_dim));
      }
    }
    for (const HeadShape& shape :
         {HeadShape{.query_heads = 5, .kv_heads = 2, .head_dim = head_dim, .ratio = 4, .lead = 2},
          {.query_heads = 6, .kv_heads = 3, .head_dim = head_dim, .ratio = 4, .lead = 3},
          {.query_heads = 1, .kv_heads = 1, .head_dim = head_dim, .ratio = 8, .lead = 7},
          {.query_heads = 3, .kv_heads = 1, .head_dim = head_dim, .ratio = 16, .lead = 5}}) {
      check(problem_of(shape, 2, 150, 5), 16,
            str("{} of groups of {}, from {}", shape.query_heads, shape.ratio, shape.lead));
    }
  }
}

/// As a window and an anchor cut them: from the middle of a page, of one column, of none.
TEST_F(DecodeMma, SegmentsReadEndToEnd) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 8, .kv_heads = 2, .head_dim = head_dim};
    for (std::int64_t keys : {3, 40, 500, 3000}) {
      const auto problem = problem_of(shape, 2, keys, 6);
      const DeviceKv whole(on_, problem, iota(keys), 16);
      std::vector<KvSegment> pieces;
      for (std::int64_t begin = 0, length = 1; begin < keys; length = length * 5 % 37 + 1) {
        // Inside a page a view is good for what is left of the page only.
        const std::int64_t count = std::min({length, keys - begin, 16 - begin % 16});
        pieces.push_back(
            {.view = whole.view().from(begin, head_dim), .len = count, .positions = {}});
        pieces.push_back({.view = whole.view(), .len = 0, .positions = {}});
        begin += count;
      }
      const auto what = str("head size {}, {} keys", head_dim, keys);
      const Computed found = on_.decode(problem, {{whole.full_segment()}, pieces});
      expect_near(found, dense_attention(problem, sees_all), shape, what);
      EXPECT_EQ(on_.decode(problem, {pieces, {whole.full_segment()}}), found) << what;
    }
  }
}

/// A window's last keys from the middle of a page on, whole pages behind.
TEST_F(DecodeMma, WindowsBeginInsidePages) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = head_dim};
    const auto problem = problem_of(shape, 1, 1000, 7);
    const DeviceKv kv(on_, problem, iota(1000), 128);
    for (std::int64_t window : {1, 103, 104, 105, 232, 500, 872, 999}) {
      const std::int64_t begin = 1000 - window, border = std::min((begin + 127) / 128 * 128, 1000L);
      std::vector<KvSegment> segments;
      if (border > begin) {
        segments.push_back(
            {.view = kv.view().from(begin, head_dim), .len = border - begin, .positions = {}});
      }
      if (border < 1000) {
        segments.push_back(
            {.view = kv.view().from(border, head_dim), .len = 1000 - border, .positions = {}});
      }
      const auto exact =
          dense_attention(problem, [=](std::int64_t, std::int64_t key) { return key >= begin; });
      expect_near(on_.decode(problem, {segments}), exact, shape,
                  str("head size {}, window {}", head_dim, window));
    }
  }
}

/// Rows of all lengths in one batch, against the oracle; each alone gives the same bits; and so do
/// twenty repetitions.
TEST_F(DecodeMma, ARowsBitsAreItsOwn) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 8, .kv_heads = 2, .head_dim = head_dim};
    const std::vector<std::int64_t> lengths{1, 0, 9000, 512, 7, 513, 4100, 0, 17, 2048, 63, 8193};
    const auto problem = problem_of(shape, std::ssize(lengths), 9000, 8);
    const DeviceKv kv(on_, problem, iota(9000), 128);
    std::vector<std::vector<KvSegment>> segments;
    for (std::int64_t length : lengths) {
      segments.push_back({kv.full_segment()});
      segments.back()[0].len = length;
    }
    const Computed all = on_.decode(problem, segments);
    expect_near(all,
                dense_attention(problem, [&](auto row, auto key) { return key < lengths[row]; }),
                shape, str("head size {}", head_dim));
    for (std::int64_t row = 0; row < std::ssize(lengths); ++row) {
      EXPECT_EQ(on_.decode(row_alone(problem, row), {segments[row]}), row_of(all, row, shape))
          << "head size " << head_dim << ", row " << row;
    }
    for (int repeat = 0; repeat < 20; ++repeat) ASSERT_EQ(on_.decode(problem, segments), all);
  }
}

/// More splits than warps.
TEST_F(DecodeMma, ManyRowsAgreeWithTheReferenceKernel) {
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 32, .kv_heads = 8, .head_dim = head_dim};
    const auto problem = problem_of(shape, 300, 1100, 9);
    const auto run = [&](KernelsOnDevice& on) {
      const DeviceKv kv(on, problem, iota(1100), 128);
      std::vector<std::vector<KvSegment>> segments;
      for (std::int64_t row = 0; row < 300; ++row) {
        segments.push_back({kv.full_segment()});
        segments.back()[0].len = row * 37 % 1101;
      }
      return on.decode(problem, segments);
    };
    KernelsOnDevice reference(backend({}));
    const Computed exact = run(reference);
    expect_near(run(on_), {{exact.o.begin(), exact.o.end()}, {exact.lse.begin(), exact.lse.end()}},
                shape, str("head size {}", head_dim));
  }
}

TEST_F(DecodeMma, ALongRowAgreesWithTheReferenceKernel) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 1, .head_dim = 128};
  const auto problem = problem_of(shape, 1, 100'003, 10);
  const auto run = [&](KernelsOnDevice& on) {
    const DeviceKv kv(on, problem, iota(100'003), 128);
    return on.decode(problem, {{kv.full_segment()}});
  };
  KernelsOnDevice reference(backend({}));
  const Computed exact = run(reference);
  expect_near(run(on_), {{exact.o.begin(), exact.o.end()}, {exact.lse.begin(), exact.lse.end()}},
              shape, "100,003 keys");
}

/// One key outweighs all others, first or last; and maxima that rise with every tile.
TEST_F(DecodeMma, MaximaMayComeLate) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 1, .head_dim = 128};
  for (std::int64_t loud : {0, 700, 2999}) {
    auto problem = problem_of(shape, 1, 3000, 11);
    for (int d = 0; d < 128; ++d) problem.k[loud * 128 + d] = problem.q[d] > 0 ? 8.0f : -8.0f;
    check(problem, 16, str("loud key {}", loud));
  }
  auto rising = problem_of(shape, 1, 600, 12);
  for (std::int64_t key = 0; key < 600; ++key) {
    for (int d = 0; d < 128; ++d) {
      rising.k[key * 128 + d] = (rising.q[d] > 0 ? 1.0f : -1.0f) * static_cast<float>(key / 16) / 8;
    }
  }
  check(rising, 16, "rising scores");
}

TEST_F(DecodeMma, ScalesMayHaveAnySign) {
  auto problem = problem_of({4, 2, 64}, 2, 200, 13);
  for (float scale : {-0.2f, 0.0f, 1.0f}) {
    problem.scale = scale;
    check(problem, 16, str("scale {}", scale));
  }
}

/// Queries and results may begin at any float.
TEST_F(DecodeMma, ArraysMayBeginAtAnyFloat) {
  for (int head_dim : {64, 128}) {
    const auto problem = problem_of({6, 2, head_dim}, 5, 600, 14);
    const DeviceKv kv(on_, problem, iota(600), 16);
    const std::vector segments(5, std::vector{kv.full_segment()});
    const Computed aligned = on_.decode(problem, segments);
    for (std::size_t shift : {1, 2, 3, 0}) {
      on_.shift_arrays(shift);
      EXPECT_EQ(on_.decode(problem, segments), aligned) << shift;
    }
  }
}

/// The kernel of a row is chosen by this row.
TEST_F(DecodeMma, NeighboursOfOtherKindsChangeNoBits) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 64};
  const auto problem = problem_of(shape, 3, 700, 15);
  const DeviceKv kv(on_, problem, iota(700), 16);
  on_.shift_arrays(1);
  const DeviceKv unaligned(on_, problem, iota(700), 16);
  on_.shift_arrays(0);
  const Computed mixed =
      on_.decode(problem, {{kv.full_segment()}, {unaligned.full_segment()}, {kv.full_segment()}});
  expect_near(mixed, dense_attention(problem, sees_all), shape, "mixed rows");
  for (std::int64_t row : {0, 2}) {
    EXPECT_EQ(on_.decode(row_alone(problem, row), {{kv.full_segment()}}),
              row_of(mixed, row, shape));
  }
  EXPECT_EQ(on_.decode(row_alone(problem, 1), {{unaligned.full_segment()}}),
            row_of(mixed, 1, shape));
}

/// Of the splits of the heads that read a key which is not a number, each counts once.
TEST_F(DecodeMma, CountsSplitsThatAreNotNumbers) {
  const HeadShape shape{.query_heads = 6, .kv_heads = 2, .head_dim = 64};
  for (std::int64_t keys : {40, 1100}) {
    auto problem = problem_of(shape, 1, keys, 16);
    AttentionKernels& kernels = on_.kernels(shape, problem.scale);
    const std::int64_t before = kernels.bad_lse_total();
    problem.k[(keys - 10) * 2 * 64] = std::numeric_limits<float>::quiet_NaN();
    const DeviceKv bad(on_, problem, iota(keys), 16);
    const Computed found = on_.decode(problem, {{bad.full_segment()}});
    EXPECT_EQ(kernels.bad_lse_total(), before + 3) << keys;
    for (int head = 0; head < 6; ++head) {
      EXPECT_EQ(std::isfinite(found.lse[head]), head >= 3 || keys == 1100) << head;
    }
  }
}

/// Slots that begin 2^31 values apart and more.
TEST_F(DecodeMma, OffsetsHaveSixtyFourBits) {
  const HeadShape shape{.query_heads = 2, .kv_heads = 1, .head_dim = 64};
  const auto problem = problem_of(shape, 1, 40, 17);
  constexpr std::int64_t kStride = (std::int64_t{1} << 31) + 64;
  const std::vector<std::int32_t> table{2, 0, 1};  // pages of 16
  Buffer pool;
  try {
    pool = on_.device().allocate((2 * kStride + 4096) * 2);
  } catch (const OutOfMemory&) {
    GTEST_SKIP() << "this GPU has less memory than the test needs";
  }
  const DeviceKv near(on_, problem, iota(40), 16);
  KvView far = near.view();
  far.k = pool.bytes().data();
  far.v = pool.bytes().data() + 2048 * 2;
  far.page_stride = kStride;
  far.table = table.data();
  on_.kernels(shape, problem.scale)
      .copy_kv(on_.stream(),
               {{near.view(), 0, far, {.first = 0, .block = 1, .stride = 1, .count = 40}}});
  EXPECT_EQ(on_.decode(problem, {{{.view = far, .len = 40, .positions = {}}}}),
            on_.decode(problem, {{near.full_segment()}}));
}

/// A plan in memory that stays where it is, as a captured launch needs it.
class StandingPlan {
 public:
  StandingPlan(KernelsOnDevice& on, const HeadShape& shape, float scale)
      : on_(on), memory_(on.device().allocate(kPlaces * kPlaceBytes)) {
    work_ = {.shape = shape,
             .scale = scale,
             .counts = place<SplitCounts>(0),
             .rows = place<SplitRow>(1),
             .splits = place<DecodeSplit>(2),
             .keys = place<SplitKeys>(3),
             .parts = partial_at(place<float>(4), 2 * kMostSplits, shape),
             .bad_total = place<unsigned long long>(5)};
  }
  const MmaDecode& work() const { return work_; }
  void write(const std::vector<DecodeRow>& rows) {
    DecodePlan plan = plan_decode(rows);
    std::size_t table = 6;
    auto keys = plan.keys.begin();
    for (const DecodeRow& row : rows) {
      for (const KvSegment& segment : row.segments) {
        const std::int64_t pages =
            (segment.len + segment.view.page_tokens - 1) / segment.view.page_tokens;
        write(table, std::span(segment.view.table, static_cast<std::size_t>(pages)));
        (keys++)->table = place<std::int32_t>(table++);
      }
    }
    const SplitCounts counts = plan.counts();
    write(0, std::span(&counts, 1));
    write(1, std::span<const SplitRow>(plan.rows));
    write(2, std::span<const DecodeSplit>(plan.splits));
    write(3, std::span<const SplitKeys>(plan.keys));
    on_.stream().synchronize();
  }

 private:
  static constexpr std::size_t kPlaces = 10, kPlaceBytes = 2 << 20;

  template <typename T>
  T* place(std::size_t index) {
    return reinterpret_cast<T*>(memory_.bytes().data() + index * kPlaceBytes);
  }
  template <typename T>
  void write(std::size_t index, std::span<const T> values) {
    on_.device().copy(on_.stream(),
                      memory_.bytes().subspan(index * kPlaceBytes, values.size_bytes()),
                      std::as_bytes(values));
    on_.stream().synchronize();
  }

  KernelsOnDevice& on_;
  Buffer memory_;
  MmaDecode work_{};
};

/// Steps in which rows grow, over the end of a page and of a table's place.
TEST_F(DecodeMma, StepsAskedForAsOneGiveWhatTheyGiveOneByOne) {
  const HeadShape shape{.query_heads = 8, .kv_heads = 2, .head_dim = 128};
  const auto problem = problem_of(shape, 2, 1100, 19);
  const DeviceKv kv(on_, problem, iota(1100), 16);
  const Array q = on_.upload(problem.q);
  CudaAttentionKernels kernels(on_.device(), shape, problem.scale, kByMma);
  CudaDevice graphs(0, true);
  const auto one = graphs.new_stream();
  const auto enqueue = [&](Stream& stream, std::int64_t length, Partial out) {
    std::vector<DecodeRow> rows;
    for (std::int64_t row = 0; row < 2; ++row) {
      KvSegment segment = kv.full_segment();
      segment.len = length - 700 * row;
      rows.push_back(
          {q.values + row * query_values(shape), {segment}, partial_row(out, row, shape)});
    }
    kernels.decode(stream, std::move(rows));
  };
  const DevicePartial replayed = on_.blank_partial(2 * 8, 128);
  for (std::int64_t length = 1015; length < 1035; ++length) {
    const DevicePartial plain = on_.blank_partial(2 * 8, 128);
    enqueue(on_.stream(), length, plain.view());
    one->as_one([&] { enqueue(*one, length, replayed.view()); });
    one->synchronize();
    const Computed found = on_.download(replayed), expected = on_.download(plain);
    for (std::int64_t row = 0; row < 2; ++row) {
      EXPECT_EQ(row_of(found, row, shape), row_of(expected, row, shape)) << row << ": " << length;
    }
  }
  EXPECT_GE(as_cuda(*one).replays(), 14);
}

/// What a graph replays is what then lies in memory: rows grow, and one comes.
TEST_F(DecodeMma, ACapturedLaunchFollowsTheRows) {
  const HeadShape shape{.query_heads = 8, .kv_heads = 2, .head_dim = 128};
  const auto problem = problem_of(shape, 2, 5000, 18);
  const DeviceKv kv(on_, problem, iota(5000), 128);
  const Array q = on_.upload(problem.q);
  const MmaDecodeGrid grid = prepare_mma_decode(128);
  StandingPlan plan(on_, shape, problem.scale);
  const cudaStream_t stream = as_cuda(on_.stream()).native();
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  launch_mma_decode(plan.work(), 2, grid, stream);
  cuda_check(cudaStreamEndCapture(stream, &graph), "capturing");
  cudaGraphExec_t replay = nullptr;
  cuda_check(cudaGraphInstantiate(&replay, graph, 0), "making a graph");
  for (const std::vector<std::int64_t>& lengths :
       std::vector<std::vector<std::int64_t>>{{100}, {128}, {129, 5000}, {0, 7}, {5000, 4999}}) {
    const DevicePartial out = on_.blank_partial(2 * 8, 128);
    std::vector<DecodeRow> rows;
    std::vector<std::vector<KvSegment>> segments;
    for (std::int64_t row = 0; row < std::ssize(lengths); ++row) {
      segments.push_back({kv.full_segment()});
      segments.back()[0].len = lengths[row];
      if (lengths[row] == 0) segments.back().clear();
      rows.push_back({q.values + row * query_values(shape), segments.back(),
                      partial_row(out.view(), row, shape)});
    }
    plan.write(rows);
    cuda_check(cudaGraphLaunch(replay, stream), "replaying");
    const Computed found = on_.download(out);
    const Computed exact = on_.decode(problem, segments);
    for (std::int64_t row = 0; row < std::ssize(lengths); ++row) {
      EXPECT_EQ(row_of(found, row, shape), row_of(exact, row, shape))
          << row << ": " << lengths[row];
    }
  }
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
}

}  // namespace
}  // namespace longspan::test
