#include "launch/bench/random_cases.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace longspan {
namespace {

TEST(RandomCasesTest, EveryDrawIsTheSame) {
  EXPECT_EQ(random_chunks(50, 4096, 65536), random_chunks(50, 4096, 65536));
  EXPECT_NE(random_chunks(50, 4096, 65536).front(), random_chunks(50, 4096, 65536).back());
}

TEST(RandomCasesTest, SizesStayInTheirBounds) {
  for (const auto& [most_tokens, most_cached] : {AskedChunk{1, 0}, {1, 1}, {2, 3}, {4096, 65536}}) {
    const auto chunks = random_chunks(2000, most_tokens, most_cached);
    ASSERT_EQ(chunks.size(), 2000u);
    for (const AskedChunk& chunk : chunks) {
      EXPECT_GE(chunk.tokens, 1);
      EXPECT_LE(chunk.tokens, most_tokens);
      EXPECT_GE(chunk.cached, 0);
      EXPECT_LE(chunk.cached, most_cached);
    }
  }
}

TEST(RandomCasesTest, BothEndsOfTheBoundsAreDrawn) {
  const auto chunks = random_chunks(2000, 3, 2);
  for (std::int64_t tokens : {1, 2, 3}) {
    EXPECT_NE(std::ranges::count(chunks, tokens, &AskedChunk::tokens), 0) << tokens;
  }
  for (std::int64_t cached : {0, 1, 2}) {
    EXPECT_NE(std::ranges::count(chunks, cached, &AskedChunk::cached), 0) << cached;
  }
}

TEST(RandomCasesTest, ShortOnesAreAsFrequentAsLongOnes) {
  const auto chunks = random_chunks(4000, 1 << 20, 0);
  const auto below =
      std::ranges::count_if(chunks, [](const AskedChunk& chunk) { return chunk.tokens < 1 << 10; });
  EXPECT_NEAR(static_cast<double>(below) / 4000, 0.5, 0.05);
}

}  // namespace
}  // namespace longspan
