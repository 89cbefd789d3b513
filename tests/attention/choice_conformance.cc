// What AttentionKernels that read a KeyChoice promise: each row sees what its mask shows and its
// choice names, by KV head. Others refuse.
#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "attention/shard_layout.h"
#include "comm/error.h"
#include "comm/str.h"
#include "tests/attention/kernels_conformance.h"

namespace longspan::test {
namespace {

std::vector<std::int64_t> positions_of(const PositionRun& run) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < run.count; ++i) all.push_back(run.position(i));
  return all;
}

/// A choice at random, for some KV heads of a sequence.
struct RandomChoice {
  KeyChoice choice;
  std::vector<std::uint8_t> chosen;

  RandomChoice(int kv_heads, std::int64_t tokens, std::int64_t query_unit, std::int64_t key_unit,
               double share, std::uint32_t seed)
      : choice{.query_unit = query_unit,
               .key_unit = key_unit,
               .query_units = (tokens + query_unit - 1) / query_unit,
               .key_units = (tokens + key_unit - 1) / key_unit},
        chosen(kv_heads * choice.query_units * choice.key_units) {
    std::mt19937 random(seed);
    for (std::uint8_t& one : chosen) one = std::bernoulli_distribution(share)(random) ? 1 : 0;
    choice.chosen = chosen.data();
  }

  bool names(int kv_head, std::int64_t query, std::int64_t key) const {
    const std::int64_t row = kv_head * choice.query_units + query / choice.query_unit;
    return chosen[row * choice.key_units + key / choice.key_unit] != 0;
  }
};

bool reads_choices(KernelsOnDevice& on) { return on.kernels({3, 1, 16}, 0.25f).reads_choices(); }

/// Units of one position, of less and more than a tile, of everything.
TEST_P(KernelsConformance, RowsSeeWhatMaskAndChoiceAllow) {
  if (!reads_choices(on_)) GTEST_SKIP();
  const HeadShape shape{.query_heads = 5, .kv_heads = 2, .head_dim = 16, .ratio = 3, .lead = 1};
  constexpr std::int64_t kKeys = 261;
  for (const auto& [query_unit, key_unit] :
       {std::pair{1, 1}, {16, 16}, {64, 64}, {65, 3}, {300, 1}, {7, 300}}) {
    for (double share : {0.0, 0.2, 1.0}) {
      for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kContiguous}) {
        const Deal deal{layout, 0, kKeys, 3, 16};
        const RandomChoice choice(2, kKeys, query_unit, key_unit, share, 7);
        std::vector<std::int64_t> queries;
        for (const PositionRun& run : shard(deal, 1)) {
          for (std::int64_t position : positions_of(run)) queries.push_back(position);
        }
        const auto problem = random_problem(shape, std::ssize(queries), kKeys, 43);
        std::vector<std::unique_ptr<DeviceKv>> held;
        std::vector<KvSegment> segments;
        for (int rank = 0; rank < 3; ++rank) {
          for (const PositionRun& run : shard(deal, rank)) {
            held.push_back(std::make_unique<DeviceKv>(on_, problem, positions_of(run), 16));
            segments.push_back(held.back()->masked_segment(Mask::chosen(), run));
            segments.back().choice = choice.choice;
          }
        }
        const SeesOfHead sees = [&](int kv_head, std::int64_t row, std::int64_t key) {
          return key <= queries[row] && choice.names(kv_head, queries[row], key);
        };
        expect_near(
            on_.prefill({problem, queries, {segments}}), dense_attention(problem, sees), "choices",
            str("{}, units of {} and {}, share {}", name(layout), query_unit, key_unit, share));
      }
    }
  }
}

/// Rows of one tile choose differently.
TEST_P(KernelsConformance, AChoosingRowsBitsDoNotDependOnItsNeighbours) {
  if (!reads_choices(on_)) GTEST_SKIP();
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 32};
  const auto problem = random_problem(shape, 70, 700, 31);
  auto queries = iota(70);
  for (auto& query : queries) query += 610;
  const DeviceKv kv(on_, problem, iota(700), 16);
  const PositionRun all{.first = 0, .block = 1, .stride = 1, .count = 700};
  for (std::int64_t unit : {1, 20, 64}) {
    const RandomChoice choice(1, 700, unit, unit, 0.4, 3);
    KvSegment segment = kv.masked_segment(Mask::chosen(), all);
    segment.choice = choice.choice;
    const Computed together = on_.prefill({problem, queries, {{segment}}});
    const std::int64_t values = 3 * 32;
    for (std::int64_t row : {0, 33, 69}) {
      DenseProblem alone = problem;
      alone.q.assign(problem.q.begin() + row * values, problem.q.begin() + (row + 1) * values);
      const Computed one = on_.prefill({alone, {queries[row]}, {{segment}}});
      EXPECT_TRUE(std::equal(one.o.begin(), one.o.end(), together.o.begin() + row * values))
          << "units of " << unit << ", row " << row;
    }
  }
}

TEST_P(KernelsConformance, AMaskThatNeedsAChoiceIsRefusedWithoutOne) {
  const auto problem = random_problem({3, 1, 16}, 20, 20, 37);
  const DeviceKv kv(on_, problem, iota(20), 16);
  const PositionRun all{.first = 0, .block = 1, .stride = 1, .count = 20};
  KvSegment segment = kv.masked_segment(Mask::chosen(), all);
  const auto positions = iota(20);
  AttentionKernels& kernels = on_.kernels(problem.shape, problem.scale);
  const QueryRows rows{.q = nullptr, .positions = positions};
  EXPECT_THROW(kernels.attend(on_.stream(), rows, {segment}, {}), std::logic_error);
  const RandomChoice choice(1, 20, 4, 4, 0.5, 1);
  segment.choice = choice.choice;
  if (!kernels.reads_choices()) {
    EXPECT_THROW(kernels.attend(on_.stream(), rows, {segment}, {}), ConfigError);
  }
}

}  // namespace
}  // namespace longspan::test
