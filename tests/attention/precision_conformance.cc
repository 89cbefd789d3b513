// How rounding adds up when keys are cut for many ranks: with float32 states and partials not at
// all.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "tests/attention/kernels_conformance.h"

namespace longspan::test {
namespace {

double worst_difference(const Computed& computed, const DenseResult& exact) {
  double worst = 0;
  for (std::size_t i = 0; i < exact.o.size(); ++i) {
    worst = std::max(worst, std::abs(computed.o[i] - exact.o[i]));
  }
  return worst;
}

/// To bfloat16, halves away from zero.
void round_values(Computed& partial) {
  for (float& value : partial.o) {
    value = std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) + 0x8000u) & 0xffff0000u);
  }
}

TEST_P(KernelsConformance, TheErrorDoesNotGrowWithTheNumberOfRanks) {
  const HeadShape shape{.query_heads = 2, .kv_heads = 1, .head_dim = 64};
  constexpr std::int64_t kRows = 16, kKeys = 2048;
  const auto problem = random_problem(shape, kRows, kKeys, 61);
  const auto exact = dense_attention(problem, [](auto, auto) { return true; });
  const DeviceKv kv(on_, problem, iota(kKeys), 0);
  double alone = 0;
  for (std::int64_t ranks : {1, 2, 4, 8, 16, 32, 64}) {
    std::vector<std::vector<KvSegment>> launches;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      KvSegment segment = kv.full_segment();
      segment.len = kKeys / ranks;
      segment.view = segment.view.from(rank * segment.len, shape.head_dim);
      launches.push_back({segment});
    }
    const double carried = worst_difference(on_.prefill({problem, iota(kRows), launches}), exact);
    // Hop by hop, as partials are in a chain of ranks; and the same rounded at each hop.
    Computed chain, rounded;
    for (const auto& launch : launches) {
      const Computed part = on_.prefill({problem, iota(kRows), {launch}});
      const bool first = chain.o.empty();
      chain = first ? part : on_.merge(shape, {chain, part});
      rounded = first ? part : on_.merge(shape, {rounded, part});
      round_values(rounded);
    }
    const double merged = worst_difference(chain, exact);
    const double lost = worst_difference(rounded, exact);
    std::printf("%s, %ld ranks: carried %.3g, merged %.3g, merged in bfloat16 %.3g\n",
                GetParam().name.c_str(), static_cast<long>(ranks), carried, merged, lost);
    if (ranks == 1) alone = carried;
    EXPECT_LE(carried, 2 * alone + 1e-7) << ranks;
    EXPECT_LE(merged, 2 * alone + 1e-7) << ranks;
    if (!GetParam().in_bfloat16) {  // where everything is rounded so, it hardly does
      EXPECT_GT(lost, 50 * merged) << "a negative control: such rounding must show";
    }
  }
}

}  // namespace
}  // namespace longspan::test
