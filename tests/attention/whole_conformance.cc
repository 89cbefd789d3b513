// What every AttentionKernels promises of attend_whole(): the bits of reset(), attend() and
// finish(), however many sources there are, whichever of them are empty or late, and whether
// messages move beside kernels or not.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "comm/str.h"
#include "tests/attention/kernels_conformance.h"

namespace longspan::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST_P(KernelsConformance, SourcesThatArriveLateChangeNoBits) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 64};
  const DenseProblem problem = as_held(random_problem(shape, 150, 400, 61));
  DeviceKv own(on_, problem, from(0, 130), 16), near(on_, problem, from(130, 1), 0),
      far(on_, problem, from(131, 269), 0), unseen(on_, problem, iota(40), 0);
  const DeviceKv none(on_, problem, {}, 16);
  const Prefill work{problem,
                     from(250, 150),
                     {{own.causal_segment(solid(0, 130))},
                      {},  // a source of nothing
                      {near.causal_segment(solid(130, 1))},
                      {none.full_segment(), none.causal_segment(solid(131, 0))},
                      {far.causal_segment(solid(131, 269))},
                      {}}};
  const Computed there = on_.prefill(work);
  const std::vector<std::vector<DeviceKv*>> arrivals{
      {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr},
      {nullptr, nullptr, &near, nullptr, &far, nullptr},
      {&own, nullptr, nullptr, nullptr, &far, nullptr},
      {nullptr, &unseen, nullptr, nullptr, &far, nullptr},
      {nullptr, nullptr, nullptr, &unseen, nullptr, nullptr},
      {&own, nullptr, nullptr, nullptr, nullptr, &unseen}};
  for (const bool beside_kernels : {true, false}) {
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
      EXPECT_EQ(on_.prefill_whole(work, arrivals[i], beside_kernels), there)
          << "arrivals " << i << ", beside kernels " << beside_kernels;
    }
  }
}

TEST_P(KernelsConformance, RowsOfSourcesThatAreAllEmptyAreEmpty) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 64};
  const DenseProblem problem = random_problem(shape, 20, 10, 62);
  const DeviceKv none(on_, problem, {}, 16), unseen(on_, problem, iota(10), 16);
  const Computed empty{std::vector(problem.q.size(), 0.0f), std::vector(20 * 4, -kInfinity)};
  const std::vector<KvSegment> out_of_sight{unseen.causal_segment(solid(20, 10))};
  for (const auto& launches : {std::vector<std::vector<KvSegment>>{},
                               {{}, {}},
                               {{none.full_segment()}, {}},
                               {out_of_sight, {none.full_segment()}}}) {
    const std::vector<DeviceKv*> there(launches.size(), nullptr);
    EXPECT_EQ(on_.prefill_whole({problem, iota(20), launches}, there), empty) << launches.size();
  }
}

/// Its work goes on when all of them are there, those too that no row needed.
TEST_P(KernelsConformance, TheStreamIsPastSourcesThatNobodyAttends) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 64};
  const DenseProblem problem = as_held(random_problem(shape, 20, 300, 63));
  const DeviceKv own(on_, problem, from(0, 200), 16);
  const std::vector<std::int64_t> positions = from(200, 20);
  const Array q = on_.upload(problem.q);
  for (const bool beside_kernels : {true, false}) {
    DeviceKv unseen(on_, problem, from(200, 100), 0);
    const DeviceState state = on_.blank_state(20L * 4, 64);
    const auto side = on_.device().new_stream();
    std::vector<ArrivingSegments> sources{{{}, {own.causal_segment(solid(0, 200))}},
                                          {unseen.arrive_late(*side), {}}};
    on_.kernels(shape, problem.scale)
        .attend_whole(on_.stream(), {q.values, positions}, std::move(sources), state.view(),
                      beside_kernels);
    const KvView& found = unseen.fetch();
    for (std::int64_t column = 0; column < 100; ++column) {
      ASSERT_EQ(found.keys()[found.offset(column, 0, 64)], problem.k[(200 + column) * 2 * 64])
          << "column " << column << ", beside kernels " << beside_kernels;
    }
  }
}

/// More memories than a launch can tell apart, in a source each, and in one.
TEST_P(KernelsConformance, SourcesInManyMemoriesChangeNoBits) {
  constexpr std::int64_t kSources = 20, kColumns = 40;
  for (int head_dim : {64, 128}) {
    const HeadShape shape{.query_heads = 2, .kv_heads = 1, .head_dim = head_dim};
    const DenseProblem problem = as_held(random_problem(shape, 150, kSources * kColumns, 64));
    const auto positions = from(kSources * kColumns - 150, 150);
    std::vector<std::unique_ptr<DeviceKv>> held;
    std::vector<std::vector<KvSegment>> sources;
    std::vector<KvSegment> all;
    for (std::int64_t i = 0; i < kSources; ++i) {
      held.push_back(
          std::make_unique<DeviceKv>(on_, problem, from(kColumns * i, kColumns), kColumns));
      all.push_back(held.back()->causal_segment(solid(kColumns * i, kColumns)));
      sources.push_back({all.back()});
      if (i % 7 == 3) sources.emplace_back();
    }
    const Computed there = on_.prefill({problem, positions, {all}});
    expect_near(there,
                dense_attention(problem, [&](auto row, auto key) { return key <= positions[row]; }),
                "many memories", str("{}", head_dim));
    std::vector<DeviceKv*> late(sources.size(), nullptr);
    const std::vector<DeviceKv*> at_once = late;
    late[0] = held[0].get(), late[18] = held[16].get(), late.back() = held.back().get();
    for (const bool beside_kernels : {true, false}) {
      const auto what = str("heads of {}, beside kernels {}", head_dim, beside_kernels);
      const Prefill each{problem, positions, sources};
      EXPECT_EQ(on_.prefill_whole(each, at_once, beside_kernels), there) << what;
      EXPECT_EQ(on_.prefill_whole(each, late, beside_kernels), there) << what << ", late";
      EXPECT_EQ(on_.prefill_whole({problem, positions, {all}}, {nullptr}, beside_kernels), there)
          << what << ", one source";
    }
  }
}

TEST_P(KernelsConformance, AWholeStateMayBeginAtAnyFloat) {
  for (int head_dim : {40, 64, 128}) {
    const HeadShape shape{.query_heads = 6, .kv_heads = 2, .head_dim = head_dim};
    const auto problem = random_problem(shape, 140, 300, 65);
    const DeviceKv kv(on_, problem, iota(300), 16);
    const Prefill work{problem, from(160, 140), {{kv.causal_segment(solid(0, 300))}}};
    const Computed aligned = on_.prefill(work);
    for (std::size_t shift : {0, 1, 2, 3}) {
      on_.shift_arrays(shift);
      EXPECT_EQ(on_.prefill_whole(work, {nullptr}), aligned)
          << "heads of " << head_dim << ", " << shift << " floats off";
    }
    on_.shift_arrays(0);
  }
}

/// Values that some rows see and their neighbours do not are no numbers, and neither are keys and
/// values that no row comes near.
TEST_P(KernelsConformance, RowsThatSeeNothingBesideOthersThatDoAreEmpty) {
  struct Case {
    Mask mask;
    std::int64_t first_row, rows, keys;  // keys are at kFirstKey and behind
  };
  constexpr std::int64_t kFirstKey = 150, kReach = 256;
  constexpr std::array kPoison{kInfinity, -kInfinity, kNan};  // the first values of the first key
  for (const Case& c : {Case{Mask::causal(), 149, 200, 400}, Case{Mask::causal(), 100, 200, 400},
                        Case{Mask::causal(), 80, 200, 400}, Case{Mask::causal(), 23, 200, 400},
                        Case{Mask::window(30), 190, 128, 100}}) {
    for (int head_dim : {64, 128}) {
      const HeadShape shape{.query_heads = 2, .kv_heads = 1, .head_dim = head_dim};
      auto problem = as_held(random_problem(shape, c.rows, c.keys, 66));
      const auto sees = [&](std::int64_t row, std::int64_t key) {
        const std::int64_t query = c.first_row + row, at = kFirstKey + key;
        return at <= query && (!c.mask.is_windowed() || at > query - c.mask.keys());
      };
      const auto exact = dense_attention(problem, sees);
      std::ranges::copy(kPoison, problem.v.begin());
      for (std::int64_t i = kReach * head_dim; i < std::ssize(problem.k); ++i) {
        problem.k[i] = kNan;
        problem.v[i] = i % 2 == 0 ? kInfinity : kNan;
      }
      const DeviceKv kv(on_, problem, iota(c.keys), 16);
      const Prefill work{problem,
                         from(c.first_row, c.rows),
                         {{kv.masked_segment(c.mask, solid(kFirstKey, c.keys))}}};
      const auto what = str("rows from {}, heads of {}", c.first_row, head_dim);
      Computed whole = on_.prefill_whole(work, {nullptr}), stepped = on_.prefill(work);
      for (Computed* computed : {&whole, &stepped}) {
        for (std::size_t i = 0; i < computed->o.size(); ++i) {
          const std::size_t item = i / head_dim;
          if (std::isinf(exact.lse[item])) {
            ASSERT_EQ(computed->o[i], 0.0f) << what << ", row " << item / 2;
          } else if (i % head_dim < kPoison.size()) {
            ASSERT_FALSE(sees(item / 2, 0) && std::isfinite(computed->o[i])) << what;
            computed->o[i] = static_cast<float>(exact.o[i]);
          }
        }
        expect_near(*computed, exact, "rows that see nothing", what);
      }
      EXPECT_EQ(whole, stepped) << what;
    }
  }
}

}  // namespace
}  // namespace longspan::test
