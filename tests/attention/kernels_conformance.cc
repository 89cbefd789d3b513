#include "tests/attention/kernels_conformance.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <limits>

#include "attention/divisors.h"
#include "attention/head_slice.h"

namespace longspan::test {

std::map<std::string, double>& KernelsConformance::worst() {
  static std::map<std::string, double> errors;
  return errors;
}

void KernelsConformance::TearDownTestSuite() {
  for (const auto& [group, error] : worst()) {
    std::printf("worst error, %-44s %.3g\n", group.c_str(), error);
  }
}

void KernelsConformance::expect_near(const Computed& computed, const DenseResult& exact,
                                     const std::string& group, const std::string& what) {
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
  EXPECT_LE(error, GetParam().tolerance()) << group << ", " << what;
  const std::string key = GetParam().name + ": " + group;
  if (!(error <= worst()[key])) worst()[key] = error;
}

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::string text(const HeadShape& shape) {
  return "heads " + std::to_string(shape.query_heads) + "/" + std::to_string(shape.kv_heads) +
         " of " + std::to_string(shape.head_dim) + ", ratio " + std::to_string(shape.ratio) +
         " lead " + std::to_string(shape.lead);
}

std::string text(std::initializer_list<std::int64_t> numbers) {
  std::string all;
  for (std::int64_t number : numbers) all += std::to_string(number) + " ";
  return all;
}

bool sees_all(std::int64_t /*row*/, std::int64_t /*key*/) { return true; }

/// Shapes of models and of none, and each ratio of heads at each size of them.
std::vector<HeadShape> head_shapes() {
  std::vector<HeadShape> shapes{{1, 1, 16}, {9, 3, 64},  {4, 4, 24},  {8, 2, 80},
                                {8, 1, 64}, {16, 2, 32}, {4, 2, 128}, {3, 1, 256}};
  for (int ratio : {1, 3, 4, 8}) {
    for (int head_dim : {16, 64, 80, 128, 256}) shapes.push_back({2 * ratio, 2, head_dim});
  }
  return shapes;
}

/// Slices of models: inside one KV head, at each edge of one, over whole ones with parts of others
/// around, and readers so many that some KV heads need more blocks than others.
std::vector<HeadShape> slice_shapes() {
  return {{.query_heads = 3, .kv_heads = 2, .head_dim = 64, .ratio = 4, .lead = 2},
          {.query_heads = 3, .kv_heads = 2, .head_dim = 64, .ratio = 4, .lead = 3},
          {.query_heads = 2, .kv_heads = 1, .head_dim = 80, .ratio = 8, .lead = 3},
          {.query_heads = 1, .kv_heads = 1, .head_dim = 16, .ratio = 8, .lead = 7},
          {.query_heads = 2, .kv_heads = 1, .head_dim = 128, .ratio = 2, .lead = 0},
          {.query_heads = 5, .kv_heads = 3, .head_dim = 256, .ratio = 3, .lead = 2},
          {.query_heads = 9, .kv_heads = 4, .head_dim = 24, .ratio = 3, .lead = 1},
          {.query_heads = 30, .kv_heads = 3, .head_dim = 16, .ratio = 16, .lead = 7},
          {.query_heads = 20, .kv_heads = 2, .head_dim = 128, .ratio = 19, .lead = 18}};
}

TEST_P(KernelsConformance, EveryHeadShapeEqualsTheOracle) {
  auto shapes = head_shapes();
  for (const HeadShape& shape : slice_shapes()) shapes.push_back(shape);
  for (const HeadShape& shape : shapes) {
    const auto problem = random_problem(shape, 37, 130, 1);
    const DeviceKv kv(on_, problem, iota(130), 16);
    const auto full = dense_attention(problem, sees_all);
    expect_near(on_.prefill({problem, iota(37), {{kv.full_segment()}}}), full, "head shapes",
                "full " + text(shape));
    expect_near(on_.decode(problem, std::vector(37, std::vector{kv.full_segment()})), full,
                "head shapes", "decode " + text(shape));
    const auto causal =
        dense_attention(problem, [](auto row, auto key) { return key <= row + 60; });
    expect_near(on_.prefill({problem, from(60, 37), {{kv.causal_segment(solid(0, 130))}}}), causal,
                "head shapes", "causal " + text(shape));
  }
}

/// What a slice of the heads has of (rows, heads, head_dim).
template <typename Value>
std::vector<Value> cut(const std::vector<Value>& values, int heads, int first, int count, int dim) {
  std::vector<Value> out;
  for (auto row = values.begin(); row != values.end(); row += heads * dim) {
    out.insert(out.end(), row + first * dim, row + (first + count) * dim);
  }
  return out;
}

/// The oracle knows nothing of slices here: its results are cut.
TEST_P(KernelsConformance, KernelsForSlicesOfTheHeadsComputeTheirPartsOfTheWhole) {
  const HeadShape model{.query_heads = 12, .kv_heads = 3, .head_dim = 64};
  const auto whole = random_problem(model, 21, 600, 50);
  const auto exact = dense_attention(whole, [](auto row, auto key) { return key <= row + 570; });
  const auto full = dense_attention(whole, sees_all);
  KernelsBackend sliced = GetParam();
  sliced.new_kernels = [&model](Device& device, const HeadShape& shape, float scale) {
    return GetParam().new_kernels(device, model, scale)->for_heads(shape);
  };
  KernelsOnDevice on(sliced);
  for (int parts : divisors(model.query_heads)) {
    for (int part = 0; part < parts; ++part) {
      const auto [shape, first, first_kv] = slice_heads(model, part, parts);
      const int dim = shape.head_dim;
      const auto queries = [&, first = first, heads = shape.query_heads](const auto& values,
                                                                         int width) {
        return cut(values, model.query_heads, first, heads, width);
      };
      const auto keys = [&, first = first_kv, heads = shape.kv_heads](const auto& values) {
        return cut(values, model.kv_heads, first, heads, dim);
      };
      const DenseProblem problem{shape, whole.scale, queries(whole.q, dim), keys(whole.k),
                                 keys(whole.v)};
      const DeviceKv kv(on, problem, iota(600), 16);
      const auto what = std::to_string(part) + " of " + std::to_string(parts);
      expect_near(on.prefill({problem, from(570, 21), {{kv.causal_segment(solid(0, 600))}}}),
                  {queries(exact.o, dim), queries(exact.lse, 1)}, "slices of heads", what);
      expect_near(on.decode(problem, std::vector(21, std::vector{kv.full_segment()})),
                  {queries(full.o, dim), queries(full.lse, 1)}, "slices of heads",
                  "decode " + what);
    }
  }
}

TEST_P(KernelsConformance, ManyQueryHeadsPerKvHeadSpanTiles) {
  const HeadShape shape{.query_heads = 200, .kv_heads = 2, .head_dim = 16};
  const auto problem = random_problem(shape, 5, 70, 3);
  const DeviceKv kv(on_, problem, iota(70), 16);
  const auto causal = dense_attention(problem, [](auto row, auto key) { return key <= row + 60; });
  expect_near(on_.prefill({problem, from(60, 5), {{kv.causal_segment(solid(0, 70))}}}), causal,
              "many heads", "prefill");
  expect_near(on_.decode(problem, std::vector(5, std::vector{kv.full_segment()})),
              dense_attention(problem, sees_all), "many heads", "decode");
}

TEST_P(KernelsConformance, EveryLengthAndPageSizeEqualsTheOracle) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  for (std::int64_t keys : {0, 1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1000}) {
    for (std::int64_t rows : {0, 1, 2, 31, 32, 33, 63, 64, 65, 130}) {
      const auto problem = random_problem(shape, rows, keys, 5);
      const auto causal = dense_attention(problem, std::greater_equal<>());
      const auto full = dense_attention(problem, sees_all);
      for (std::int64_t page_tokens : {0, 1, 16, 128}) {
        const DeviceKv kv(on_, problem, iota(keys), page_tokens);
        const auto what = "rows, keys, page: " + text({rows, keys, page_tokens});
        expect_near(on_.prefill({problem, iota(rows), {{kv.full_segment()}}}), full, "lengths",
                    what);
        expect_near(on_.prefill({problem, iota(rows), {{kv.causal_segment(solid(0, keys))}}}),
                    causal, "lengths", what);
        expect_near(on_.decode(problem, std::vector(rows, std::vector{kv.full_segment()})), full,
                    "lengths", "decode " + what);
      }
    }
  }
}

/// The last rows of a long sequence see all but the end of it: full tiles, then masked ones.
TEST_P(KernelsConformance, RowsAtTheEndOfManyKeysEqualTheOracle) {
  struct Case {
    int head_dim;
    std::int64_t keys, rows;
  };
  for (const auto& [head_dim, keys, rows] :
       {Case{64, 129, 65}, {64, 513, 129}, {64, 1000, 65}, {80, 1000, 33}, {256, 513, 33}}) {
    const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = head_dim};
    const auto problem = random_problem(shape, rows, keys, 6);
    const std::int64_t before = keys - rows;
    const auto exact =
        dense_attention(problem, [=](auto row, auto key) { return key <= before + row; });
    const DeviceKv kv(on_, problem, iota(keys), 16);
    expect_near(on_.prefill({problem, from(before, rows), {{kv.causal_segment(solid(0, keys))}}}),
                exact, "rows at the end", text({head_dim, keys, rows}));
  }
}

TEST_P(KernelsConformance, TheOrderOfSlotsChangesNoBits) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 32};
  const auto problem = random_problem(shape, 70, 700, 7);
  const auto exact = dense_attention(problem, [](auto row, auto key) { return key <= row + 600; });
  for (std::int64_t page_tokens : {1, 16, 128}) {
    const DeviceKv reversed(on_, problem, iota(700), page_tokens, PagedKv::kReversed);
    const DeviceKv shuffled(on_, problem, iota(700), page_tokens, 2);
    const auto run = [&](const DeviceKv& kv) {
      return on_.prefill({problem, from(600, 70), {{kv.causal_segment(solid(0, 700))}}});
    };
    const Computed computed = run(reversed);
    expect_near(computed, exact, "reversed tables", text({page_tokens}));
    EXPECT_TRUE(computed == run(shuffled)) << page_tokens;
    const auto decoded = [&](const DeviceKv& kv) {
      return on_.decode(problem, std::vector(70, std::vector{kv.full_segment()}));
    };
    EXPECT_TRUE(decoded(reversed) == decoded(shuffled)) << page_tokens;
  }
}

/// Row i and key j of rank-local streams see each other by position, whatever the layout is.
TEST_P(KernelsConformance, CausalMasksFollowPositionsInEveryLayout) {
  const HeadShape shape{.query_heads = 6, .kv_heads = 2, .head_dim = 24};
  constexpr std::int64_t kCached = 37, kNew = 205, kKeys = kCached + kNew;
  for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                        Layout::kContiguous, Layout::kFolded}) {
    for (const auto& [ranks, query_rank] : {std::pair{1, 0}, {2, 1}, {3, 0}, {5, 4}}) {
      const Deal deal{layout, kCached, kNew, ranks, 16};
      std::vector<std::int64_t> positions;
      for (const PositionRun& run : shard(deal, query_rank)) {
        for (std::int64_t i = 0; i < run.count; ++i) positions.push_back(run.position(i));
      }
      const auto problem = random_problem(shape, std::ssize(positions), kKeys, 11);
      const auto exact =
          dense_attention(problem, [&](auto row, auto key) { return key <= positions[row]; });
      // Cached tokens first, then each rank's new ones, a launch each as a ring would.
      std::vector<std::unique_ptr<DeviceKv>> held;
      held.push_back(std::make_unique<DeviceKv>(on_, problem, iota(kCached), 16));
      std::vector<std::vector<KvSegment>> launches{{held.back()->full_segment()}};
      for (int rank = 0; rank < ranks; ++rank) {
        launches.emplace_back();
        for (const PositionRun& run : shard(deal, rank)) {
          std::vector<std::int64_t> keys;
          for (std::int64_t i = 0; i < run.count; ++i) keys.push_back(run.position(i));
          held.push_back(std::make_unique<DeviceKv>(on_, problem, keys, 16));
          launches.back().push_back(held.back()->causal_segment(run));
        }
      }
      const auto what = std::string(name(layout)) + " ranks " + std::to_string(ranks);
      const Computed stepped = on_.prefill({problem, positions, launches});
      expect_near(stepped, exact, "layouts", what);
      std::vector<KvSegment> all;
      for (const auto& launch : launches) all.insert(all.end(), launch.begin(), launch.end());
      EXPECT_TRUE(stepped == on_.prefill({problem, positions, {all}})) << what;
    }
  }
}

TEST_P(KernelsConformance, RowsInAnyOrderOfPositionAreMaskedEachByItself) {
  const HeadShape shape{.query_heads = 2, .kv_heads = 1, .head_dim = 16};
  const auto problem = random_problem(shape, 100, 150, 13);
  auto positions = iota(100);
  for (auto& position : positions) position = position * 67 % 100 * 3 / 2 - 5;
  const DeviceKv kv(on_, problem, iota(150), 16);
  const auto exact =
      dense_attention(problem, [&](auto row, auto key) { return key <= positions[row]; });
  expect_near(on_.prefill({problem, positions, {{kv.causal_segment(solid(0, 150))}}}), exact,
              "rows in any order", "");
}

TEST_P(KernelsConformance, ARowThatSeesNothingIsEmpty) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  const auto problem = random_problem(shape, 4, 40, 17);
  const DeviceKv kv(on_, problem, iota(40), 16);
  const Computed masked =
      on_.prefill({problem, {0, 1, 2, 3}, {{kv.causal_segment(solid(2, 40))}, {}}});
  const DeviceKv none(on_, problem, {}, 16);
  const Computed no_keys = on_.prefill({problem, {0, 1, 2, 3}, {{none.full_segment()}}});
  const Computed no_segments = on_.prefill({problem, {0, 1, 2, 3}, {}});
  for (std::size_t i = 0; i < 2u * 3 * 16; ++i) EXPECT_EQ(masked.o[i], 0.0f);
  for (std::size_t i = 0; i < 2u * 3; ++i) {
    EXPECT_EQ(masked.lse[i], -std::numeric_limits<float>::infinity());
  }
  EXPECT_FALSE(std::isinf(masked.lse[2 * 3]));
  EXPECT_EQ(no_keys, no_segments);
  EXPECT_TRUE(std::ranges::all_of(no_keys.o, [](float x) { return x == 0.0f; }));
  EXPECT_EQ(no_segments, on_.decode(problem, {{}, {none.full_segment()}, {}, {}}));
}

TEST_P(KernelsConformance, NothingToDoIsDone) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  AttentionKernels& kernels = on_.kernels(shape, 1.0f);
  Stream& stream = on_.stream();
  kernels.reset(stream, {}, 0);
  kernels.attend(stream, {}, {}, {});
  kernels.finish(stream, {}, {}, 0);
  kernels.decode(stream, {});
  kernels.merge(stream, {}, {}, 0);
  kernels.merge(stream, std::vector<Partial>(2), {}, 0);
  kernels.copy_kv(stream, {});
  EXPECT_NO_THROW(stream.synchronize());
}

TEST_P(KernelsConformance, NanInKeysARowDoesNotSeeStaysAway) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  auto problem = random_problem(shape, 40, 64, 19);
  const auto exact = dense_attention(problem, std::greater_equal<>());
  const std::int64_t first_poisoned = 20L * 16;
  std::fill(problem.k.begin() + first_poisoned, problem.k.end(), kNan);
  std::fill(problem.v.begin() + first_poisoned, problem.v.end(), kNan);
  const DeviceKv kv(on_, problem, iota(64), 16);
  const Computed computed = on_.prefill({problem, iota(40), {{kv.causal_segment(solid(0, 64))}}});
  for (std::size_t i = 0; i < computed.o.size(); ++i) {
    const bool poisoned = i / (3 * 16) >= 20;
    ASSERT_EQ(std::isnan(computed.o[i]), poisoned) << "value " << i;
    if (poisoned) continue;
    ASSERT_NEAR(computed.o[i], exact.o[i], GetParam().tolerance());
  }
}

TEST_P(KernelsConformance, HugeLogitsAndConstantKeysStayExact) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 64};
  auto problem = random_problem(shape, 20, 1000, 23);
  const auto check = [&](const std::string& group) {
    // What rounding its factors does to a huge logit is not the kernel's error.
    if (GetParam().in_bfloat16) problem = rounded_to_bfloat16(problem);
    const auto causal =
        dense_attention(problem, [](auto row, auto key) { return key <= row + 980; });
    const DeviceKv kv(on_, problem, iota(1000), 16);
    expect_near(on_.prefill({problem, from(980, 20), {{kv.causal_segment(solid(0, 1000))}}}),
                causal, group, "prefill");
    expect_near(on_.decode(problem, std::vector(20, std::vector{kv.full_segment()})),
                dense_attention(problem, sees_all), group, "decode");
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

TEST_P(KernelsConformance, CarryingOverLaunchesChangesNoBits) {
  const HeadShape shape{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  const auto problem = random_problem(shape, 50, 900, 29);
  const auto positions = from(850, 50);
  std::vector<std::unique_ptr<DeviceKv>> held;
  std::vector<KvSegment> segments;
  std::int64_t begin = 0;
  for (std::int64_t length : {100, 1, 0, 199, 64, 300, 36, 200}) {
    held.push_back(std::make_unique<DeviceKv>(on_, problem, from(begin, length), 16));
    segments.push_back(held.back()->causal_segment(solid(begin, length)));
    begin += length;
  }
  std::vector<std::vector<KvSegment>> launches;
  std::vector<Computed> partials;
  for (const KvSegment& segment : segments) {
    launches.push_back({segment});
    partials.push_back(on_.prefill({problem, positions, {{segment}}}));
  }
  const Computed one = on_.prefill({problem, positions, {segments}});
  EXPECT_EQ(one, on_.prefill({problem, positions, launches}));
  EXPECT_EQ(one, on_.prefill_in_place({problem, positions, launches}));
  const auto exact =
      dense_attention(problem, [&](auto row, auto key) { return key <= positions[row]; });
  expect_near(one, exact, "carry", "");

  const Computed merged = on_.merge(shape, partials);
  double apart = 0;
  for (std::size_t i = 0; i < one.o.size(); ++i) {
    apart = std::max<double>(apart, std::abs(merged.o[i] - one.o[i]));
  }
  std::printf("%s: a carried state and merged partials are %.3g apart\n", GetParam().name.c_str(),
              apart);
  EXPECT_LT(apart, GetParam().tolerance() / 10);
}

TEST_P(KernelsConformance, ARowsBitsDoNotDependOnItsNeighbours) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 32};
  const auto problem = random_problem(shape, 70, 700, 31);
  const auto positions = from(610, 70);
  const DeviceKv kv(on_, problem, iota(700), 16);
  const Computed all = on_.prefill({problem, positions, {{kv.causal_segment(solid(0, 700))}}});
  const Computed decoded = on_.decode(problem, std::vector(70, std::vector{kv.full_segment()}));
  const std::int64_t values = 3 * 32;
  for (std::int64_t row : {0, 33, 69}) {
    DenseProblem alone = problem;
    alone.q.assign(problem.q.begin() + row * values, problem.q.begin() + (row + 1) * values);
    const Computed one =
        on_.prefill({alone, {positions[row]}, {{kv.causal_segment(solid(0, 700))}}});
    EXPECT_TRUE(std::equal(one.o.begin(), one.o.end(), all.o.begin() + row * values));
    const Computed one_decoded = on_.decode(alone, {{kv.full_segment()}});
    EXPECT_TRUE(
        std::equal(one_decoded.o.begin(), one_decoded.o.end(), decoded.o.begin() + row * values));
  }
}

TEST_P(KernelsConformance, RepetitionsChangeNoBits) {
  const HeadShape shape{.query_heads = 9, .kv_heads = 3, .head_dim = 64};
  const auto problem = random_problem(shape, 150, 1300, 37);
  const DeviceKv kv(on_, problem, iota(1300), 16);
  const Prefill work{problem, from(1150, 150), {{kv.causal_segment(solid(0, 1300))}}};
  const std::vector segments(9, std::vector{kv.full_segment()});
  DenseProblem few = problem;
  few.q.resize(9L * 9 * 64);
  const Computed prefilled = on_.prefill(work), decoded = on_.decode(few, segments);
  for (int repeat = 0; repeat < 10; ++repeat) {
    ASSERT_EQ(prefilled, on_.prefill(work));
    ASSERT_EQ(decoded, on_.decode(few, segments));
  }
}

/// Callers cut their memory into areas of any size.
TEST_P(KernelsConformance, ArraysMayBeginAtAnyFloat) {
  const HeadShape shape{.query_heads = 6, .kv_heads = 2, .head_dim = 40};
  const auto problem = random_problem(shape, 20, 600, 39);
  const DeviceKv kv(on_, problem, iota(600), 16);
  const auto segments = std::vector(20, std::vector{kv.full_segment()});
  const auto run = [&] {
    const Computed prefilled =
        on_.prefill({problem, from(580, 20), {{kv.causal_segment(solid(0, 600))}}});
    const Computed decoded = on_.decode(problem, segments);
    return std::vector{prefilled, decoded, on_.merge(shape, {prefilled, decoded})};
  };
  const auto aligned = run();
  for (std::size_t shift : {1, 2, 3}) {
    on_.shift_arrays(shift);
    EXPECT_EQ(run(), aligned) << shift;
  }
}

TEST_P(KernelsConformance, DecodeReadsSegmentsEndToEnd) {
  const HeadShape shape{.query_heads = 8, .kv_heads = 2, .head_dim = 64};
  for (std::int64_t keys : {511, 512, 513, 1024, 1025, 3000}) {
    const auto problem = random_problem(shape, 2, keys, 41);
    const auto exact = dense_attention(problem, sees_all);
    const DeviceKv whole(on_, problem, iota(keys), 16);
    const DeviceKv none(on_, problem, {}, 16);
    std::vector<std::unique_ptr<DeviceKv>> held;
    std::vector<KvSegment> pieces{none.full_segment()};
    std::int64_t begin = 0;
    for (std::int64_t length = 1; begin < keys; length = length * 3 % 1001) {
      const auto part = from(begin, std::min(length, keys - begin));
      held.push_back(std::make_unique<DeviceKv>(on_, problem, part, 16));
      pieces.push_back(held.back()->full_segment());
      begin += std::ssize(part);
    }
    const Computed computed = on_.decode(problem, {{whole.full_segment()}, pieces});
    expect_near(computed, exact, "decode over segments", text({keys}));
    // The same columns, however stored, are the same splits and tiles.
    EXPECT_EQ(on_.decode(problem, {pieces, {whole.full_segment()}}), computed);
  }
}

TEST_P(KernelsConformance, RowsOfOneBatchMayHaveAnyLengths) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 32};
  const std::vector<std::int64_t> lengths{1, 0, 1700, 512, 7, 513, 1024};
  const auto problem = random_problem(shape, std::ssize(lengths), 1700, 43);
  const auto exact =
      dense_attention(problem, [&](auto row, auto key) { return key < lengths[row]; });
  std::vector<std::unique_ptr<DeviceKv>> held;
  std::vector<std::vector<KvSegment>> segments;
  for (std::int64_t length : lengths) {
    held.push_back(std::make_unique<DeviceKv>(on_, problem, iota(length), 16));
    segments.push_back({held.back()->full_segment()});
  }
  expect_near(on_.decode(problem, segments), exact, "ragged decode", "");
}

/// A hundred calls wait behind slow ones while the caller writes new positions over the old.
TEST_P(KernelsConformance, DescriptionsAreTheCallersAgainWhenACallReturns) {
  const HeadShape shape{.query_heads = 2, .kv_heads = 1, .head_dim = 64};
  const auto slow = random_problem(shape, 800, 800, 44);
  const auto problem = random_problem(shape, 3, 800, 45);
  const DeviceKv kv(on_, problem, iota(800), 16);
  const KvSegment segment = kv.causal_segment(solid(0, 800));
  const auto positions_of = [](std::int64_t call) {
    return std::vector{call * 7, 799 - call, call * call % 800};
  };
  constexpr int kCalls = 100;
  const Array q = on_.upload(problem.q), slow_q = on_.upload(slow.q);
  const DeviceState slow_state = on_.blank_state(800L * 2, 64);
  std::vector<DeviceState> states;
  std::vector<DevicePartial> partials;
  for (int call = 0; call < kCalls; ++call) {
    states.push_back(on_.blank_state(3L * 2, 64));
    partials.push_back(on_.blank_partial(3L * 2, 64));
  }
  AttentionKernels& kernels = on_.kernels(shape, problem.scale);
  kernels.reset(on_.stream(), slow_state.view(), 800);
  for (int repeat = 0; repeat < 3; ++repeat) {
    kernels.attend(on_.stream(), {slow_q.values, iota(800)}, {kv.full_segment()},
                   slow_state.view());
  }
  std::vector<std::int64_t> positions;
  for (int call = 0; call < kCalls; ++call) {
    positions = positions_of(call);
    kernels.reset(on_.stream(), states[call].view(), 3);
    kernels.attend(on_.stream(), {q.values, positions}, {segment}, states[call].view());
    kernels.finish(on_.stream(), states[call].view(), partials[call].view(), 3);
    std::ranges::fill(positions, -1);
  }
  for (int call = 0; call < kCalls; ++call) {
    ASSERT_EQ(on_.download(partials[call]), on_.prefill({problem, positions_of(call), {{segment}}}))
        << call;
  }
}

TEST_P(KernelsConformance, StreamsMayShareKernels) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 64};
  constexpr int kStreams = 3, kRounds = 20;
  const auto problem = random_problem(shape, 1, 3000, 46);
  const DeviceKv kv(on_, problem, iota(3000), 16);
  const Array q = on_.upload(problem.q);
  AttentionKernels& kernels = on_.kernels(shape, problem.scale);
  // Each decodes a length of its own, so that a split of another's shows.
  const auto segment_of = [&](int stream) {
    KvSegment segment = kv.full_segment();
    segment.len -= 1000L * stream;
    return segment;
  };
  std::vector<DevicePartial> outs;
  for (int i = 0; i < kStreams * kRounds; ++i) outs.push_back(on_.blank_partial(4, 64));
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < kStreams; ++i) streams.push_back(on_.device().new_stream());
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kStreams; ++i) {
      const DevicePartial& out = outs[round * kStreams + i];
      kernels.decode(*streams[i], {{q.values, {segment_of(i)}, out.view()}});
    }
  }
  for (const auto& stream : streams) stream->synchronize();
  for (int i = 0; i < kStreams; ++i) {
    const Computed alone = on_.decode(problem, {{segment_of(i)}});
    for (int round = 0; round < kRounds; ++round) {
      ASSERT_EQ(on_.download(outs[round * kStreams + i]), alone) << i << ", round " << round;
    }
  }
}

/// In one split of three, and in a row of one split.
TEST_P(KernelsConformance, DecodeCountsSplitsThatAreNotNumbers) {
  const HeadShape shape{.query_heads = 6, .kv_heads = 2, .head_dim = 16};
  for (std::int64_t keys : {40, 1100}) {
    auto problem = random_problem(shape, 1, keys, 50);
    const std::int64_t before = on_.kernels(shape, problem.scale).bad_lse_total();
    const DeviceKv good(on_, problem, iota(keys), 16);
    on_.decode(problem, {{good.full_segment()}});
    EXPECT_EQ(on_.kernels(shape, problem.scale).bad_lse_total(), before);
    problem.k[(keys - 10) * 2 * 16] = kNan;  // of KV head 0, which three query heads read
    const DeviceKv bad(on_, problem, iota(keys), 16);
    on_.decode(problem, {{bad.full_segment()}});
    EXPECT_EQ(on_.kernels(shape, problem.scale).bad_lse_total(), before + 3) << keys << " keys";
  }
}

TEST_P(KernelsConformance, CopiesColumnsToPositionsInBlocks) {
  const HeadShape shape{.query_heads = 1, .kv_heads = 1, .head_dim = 16};
  const auto problem = as_held(random_problem(shape, 1, 100, 48));
  const PositionRun columns{.first = 3, .block = 2, .stride = 7, .count = 25};
  const DeviceKv source(on_, problem, iota(100), 0);
  DenseProblem blank = problem;
  std::ranges::fill(blank.k, -1.0f);
  DeviceKv target(on_, blank, iota(100), 5, 2);
  on_.kernels(shape, 1.0f).copy_kv(on_.stream(), {{source.view(), 40, target.view(), columns}});
  std::vector<float> expected(100, -1.0f);
  for (std::int64_t i = 0; i < columns.count; ++i) {
    expected[columns.position(i)] = problem.k[(40 + i) * 16];
  }
  const KvView& found = target.fetch();
  for (std::int64_t column = 0; column < 100; ++column) {
    EXPECT_EQ(found.keys()[found.offset(column, 0, 16)], expected[column]) << column;
  }
}

TEST_P(KernelsConformance, CopiesColumnsBetweenAnyPages) {
  const HeadShape shape{.query_heads = 2, .kv_heads = 2, .head_dim = 16};
  const auto problem = as_held(random_problem(shape, 1, 100, 47));
  for (const auto& [from_page, to_page] : {std::pair{16, 16}, {16, 1}, {0, 128}, {7, 5}}) {
    const DeviceKv source(on_, problem, iota(100), from_page);
    DenseProblem blank = problem;
    std::ranges::fill(blank.k, -1.0f), std::ranges::fill(blank.v, -1.0f);
    DeviceKv target(on_, blank, iota(100), to_page, 2);
    on_.kernels(shape, 1.0f)
        .copy_kv(on_.stream(), {{source.view(), 13, target.view(), {21, 67, 67, 67}},
                                {source.view(), 5, target.view(), {.first = 0, .count = 0}}});
    const KvView& found = target.fetch();
    for (std::int64_t column = 0; column < 100; ++column) {
      const bool copied = column >= 21 && column < 21 + 67;
      for (int head = 0; head < 2; ++head) {
        const float* k = found.keys() + found.offset(column, head, 16);
        const float* v = found.values() + found.offset(column, head, 16);
        const std::int64_t at = ((column - 8) * 2 + head) * 16;
        for (int d = 0; d < 16; ++d) {
          ASSERT_EQ(k[d], copied ? problem.k[at + d] : -1.0f) << column;
          ASSERT_EQ(v[d], copied ? problem.v[at + d] : -1.0f) << column;
        }
      }
    }
  }
}

/// Every head, and several copies of different lengths at once, into a pool whose other slots must
/// stay as they are.
TEST_P(KernelsConformance, CopiesOfOneCallMayDiffer) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 3, .head_dim = 72};
  const auto problem = as_held(random_problem(shape, 1, 300, 49));
  const DeviceKv source(on_, problem, iota(300), 16);
  DenseProblem blank = problem;
  std::ranges::fill(blank.k, -1.0f), std::ranges::fill(blank.v, -1.0f);
  DeviceKv target(on_, blank, iota(300), 128, 2);
  const std::vector<PositionRun> runs{{0, 1, 2, 100}, {1, 1, 2, 7}, {201, 3, 5, 40}};
  std::vector<std::int64_t> origin(300, -1);
  std::vector<KvCopy> copies;
  std::int64_t next = 0;
  for (const PositionRun& run : runs) {
    copies.push_back({source.view(), next, target.view(), run});
    for (std::int64_t i = 0; i < run.count; ++i) origin[run.position(i)] = next++;
  }
  on_.kernels(shape, 1.0f).copy_kv(on_.stream(), copies);
  const KvView& found = target.fetch();
  for (std::int64_t column = 0; column < 300; ++column) {
    for (int head = 0; head < 3; ++head) {
      const std::int64_t to = found.offset(column, head, 72);
      const std::int64_t at = (origin[column] * 3 + head) * 72;
      for (int d = 0; d < 72; ++d) {
        ASSERT_EQ(found.keys()[to + d], origin[column] < 0 ? -1.0f : problem.k[at + d]) << column;
        ASSERT_EQ(found.values()[to + d], origin[column] < 0 ? -1.0f : problem.v[at + d]) << column;
      }
    }
  }
}

TEST_P(KernelsConformance, ShapesNoKernelComputesAreRefused) {
  for (const HeadShape& shape :
       {HeadShape{3, 2, 64}, HeadShape{2, 2, 8}, HeadShape{2, 2, 20}, HeadShape{2, 2, 264},
        HeadShape{3, 1, 64, 4, 2}, HeadShape{3, 2, 64, 4, 4}, HeadShape{3, 2, 64, 4, -1}}) {
    EXPECT_THROW(GetParam().new_kernels(on_.device(), shape, 1.0f), std::logic_error)
        << text(shape);
  }
}

}  // namespace
}  // namespace longspan::test
