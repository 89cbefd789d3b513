// What every AttentionKernels promises of masks with an anchor: their parts, as segments of the
// same keys, give what the whole pattern means.
#include <array>
#include <memory>
#include <stdexcept>
#include <vector>

#include "attention/shard_layout.h"
#include "comm/str.h"
#include "tests/attention/kernels_conformance.h"
#include "tests/attention/pattern.h"

namespace longspan::test {
namespace {

std::vector<std::int64_t> positions_of(const PositionRun& run) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < run.count; ++i) all.push_back(run.position(i));
  return all;
}

/// Borders at and around tiles of 64 columns and pages of 16; an end that begins inside a block.
std::vector<Pattern> patterns() {
  return {sinks(1, 1),           sinks(4, 16),          sinks(64, 65),        sinks(17, 500),
          blocks({64, 64, 200}), blocks({16, 48, 233}), blocks({1, 65, 500}), blocks({48, 48, 0})};
}

/// Rows of one rank over the keys of all, in every layout.
TEST_P(KernelsConformance, AnchorsWindowsAndBlocksEqualTheOracle) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  constexpr std::int64_t kKeys = 261;
  for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                        Layout::kContiguous, Layout::kFolded}) {
    for (const auto& [ranks, query_rank] : {std::pair{1, 0}, {3, 1}, {5, 4}}) {
      const Deal deal{layout, 0, kKeys, ranks, 16};
      std::vector<std::int64_t> queries;
      for (const PositionRun& run : shard(deal, query_rank)) {
        for (std::int64_t position : positions_of(run)) queries.push_back(position);
      }
      const auto problem = random_problem(shape, std::ssize(queries), kKeys, 41);
      for (const Pattern& pattern : patterns()) {
        std::vector<std::unique_ptr<DeviceKv>> held;
        std::vector<KvSegment> segments;
        for (int rank = 0; rank < ranks; ++rank) {
          for (const PositionRun& run : shard(deal, rank)) {
            held.push_back(std::make_unique<DeviceKv>(on_, problem, positions_of(run), 16));
            for (const Mask& part : pattern.mask.parts()) {
              segments.push_back(held.back()->masked_segment(part, run));
            }
          }
        }
        const auto sees = [&](std::int64_t row, std::int64_t key) {
          return pattern.sees(queries[row], key);
        };
        expect_near(on_.prefill({problem, queries, {segments}}), dense_attention(problem, sees),
                    "anchors", str("{}, {} ranks, {}", name(layout), ranks, pattern.name));
      }
    }
  }
}

TEST_P(KernelsConformance, AMaskInPartsIsRefusedWhole) {
  const auto problem = random_problem({3, 1, 16}, 20, 20, 37);
  const DeviceKv kv(on_, problem, iota(20), 16);
  const PositionRun all{.first = 0, .block = 1, .stride = 1, .count = 20};
  const auto positions = iota(20);
  AttentionKernels& kernels = on_.kernels(problem.shape, problem.scale);
  EXPECT_THROW(kernels.attend(on_.stream(), {.q = nullptr, .positions = positions},
                              {kv.masked_segment(Mask::sinks(2, 4), all)}, {}),
               std::logic_error);
}

}  // namespace
}  // namespace longspan::test
