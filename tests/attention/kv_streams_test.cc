#include "attention/kv_streams.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace longspan {
namespace {

constexpr HeadShape kShape{.query_heads = 1, .kv_heads = 1, .head_dim = 16};
constexpr std::int64_t kPage = 8;

class KvStreamsTest : public testing::Test {
 protected:
  /// Segments of rank j's stream that the rows of `rank` may see, when page p lies with rank p mod
  /// `ranks`.
  std::vector<KvSegment> seen(const Deal& deal, int rank, int j, const Mask& mask) {
    SequenceStorage storage{.page_tokens = kPage, .owners = {}, .slots = {}};
    for (std::int64_t page = 0; page * kPage < deal.first + deal.count; ++page) {
      const int owner = static_cast<int>(page % deal.ranks);
      storage.owners.push_back(owner);
      if (owner == rank) storage.slots.push_back(static_cast<std::int32_t>(storage.slots.size()));
    }
    const SplitChunk chunk = make_split_chunk(deal, rank, storage, mask);
    const KvStreams streams(*kernels_, chunk, {}, Cached::kTravel);
    return streams.segments(j, memory_.data(), chunk.positions);
  }

  std::vector<float> memory_ = std::vector<float>(512 * kShape.kv_values());
  std::unique_ptr<AttentionKernels> kernels_ = new_cpu_attention_kernels(kShape, 1.0f);
};

TEST_F(KvStreamsTest, RowsGetNoSegmentsOfStreamsOutOfTheirSight) {
  const Deal deal{.layout = Layout::kContiguous, .count = 400, .ranks = 5};
  for (int r = 0; r < 5; ++r) {
    for (int j = 0; j < 5; ++j) {
      const auto segments = [&](const Mask& mask) { return seen(deal, r, j, mask).size(); };
      EXPECT_EQ(segments(Mask::window(1)), j == r) << r << " sees " << j;
      EXPECT_EQ(segments(Mask::window(2)), j == r || j == r - 1) << r << " sees " << j;
      EXPECT_EQ(segments(Mask::window(81)), j == r || j == r - 1) << r << " sees " << j;
      EXPECT_EQ(segments(Mask::window(82)), j <= r && j >= r - 2) << r << " sees " << j;
      EXPECT_EQ(segments(Mask::causal()), j <= r) << r << " sees " << j;
      EXPECT_EQ(segments(Mask::full()), 1u) << r << " sees " << j;
    }
  }
}

/// 10 of 96 cached tokens are in sight of the first row: two pages, whose ranks are 0 and 1.
TEST_F(KvStreamsTest, CachedColumnsBeginWhereTheFirstRowsWindowDoes) {
  const Deal deal{.layout = Layout::kContiguous, .first = 96, .count = 40, .ranks = 2};
  const Mask mask = Mask::window(11);
  const auto of_0 = seen(deal, 0, 0, mask), of_1 = seen(deal, 0, 1, mask);
  ASSERT_EQ(of_0.size(), 2u);  // a broken page, and its own rows
  EXPECT_EQ(of_0[0].positions.first, 86);
  EXPECT_EQ(of_0[0].len, 2);
  ASSERT_EQ(of_1.size(), 1u);  // the rows of rank 1 come later
  EXPECT_EQ(of_1[0].positions.first, 88);
  EXPECT_EQ(of_1[0].len, 8);
  EXPECT_TRUE(seen(deal, 1, 1, mask)[0].positions.first >= 96);  // all cached ones are too far
}

/// Of 96 cached tokens the first 11, on ranks 0 and 1, and the last 10 are in sight.
TEST_F(KvStreamsTest, CachedColumnsBetweenSinksAndWindowsDoNotTravel) {
  const Deal deal{.layout = Layout::kContiguous, .first = 96, .count = 2, .ranks = 2};
  const auto of_1 = seen(deal, 0, 1, Mask::sinks(11, 11));
  ASSERT_EQ(of_1.size(), 2u);  // three sinks of page 1, all of page 11
  EXPECT_EQ(of_1[0].positions.first, 8);
  EXPECT_EQ(of_1[0].len, 3);
  EXPECT_EQ(of_1[1].positions.first, 88);
  EXPECT_EQ(of_1[1].len, 8);
  // Piece by piece: K and V of the sinks, then of the window.
  EXPECT_EQ(of_1[1].view.keys() - of_1[0].view.keys(), 3 * kShape.kv_values());
}

/// Blocks of 80 tokens, a rank each, but for the prompt's end.
TEST_F(KvStreamsTest, RowsGetTheAnchorAndTheirOwnBlock) {
  const Deal deal{.layout = Layout::kContiguous, .count = 400, .ranks = 5};
  for (int r = 0; r < 5; ++r) {
    for (int j = 0; j < 5; ++j) {
      const Mask mask = Mask::blocks({.anchor = 80, .block = 80, .exact_from = 399});
      EXPECT_EQ(seen(deal, r, j, mask).size(), j == 0 || j == r || r == 4) << r << " sees " << j;
    }
  }
}

TEST_F(KvStreamsTest, WithoutRowsNothingIsSeen) {
  const Deal deal{.layout = Layout::kContiguous, .count = 2, .ranks = 3};
  EXPECT_TRUE(seen(deal, 0, 1, Mask::full()).empty());
}

}  // namespace
}  // namespace longspan
