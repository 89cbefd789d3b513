#include "attention/mask.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "attention/approximation.h"
#include "tests/attention/pattern.h"

namespace longspan {
namespace {

constexpr std::int64_t kTokens = 40;

/// Anchors and windows of nothing, of one key, that meet, that overlap, that are beyond the end;
/// blocks of one, with and without a broken last one, an end that begins inside a block.
std::vector<test::Pattern> patterns() {
  std::vector<test::Pattern> list{Mask::causal(), Mask::window(1), Mask::window(7)};
  for (std::int64_t anchor : {0, 1, 4, 13, 100}) {
    for (std::int64_t window : {1, 2, 9, 39, 40, 41}) list.push_back(test::sinks(anchor, window));
    for (std::int64_t block : {1, 4, 13, 100}) {
      for (std::int64_t exact_from : {0, 1, 12, 13, 14, 39, 40, 99}) {
        list.push_back(test::blocks({anchor, block, exact_from}));
      }
    }
  }
  return list;
}

TEST(MaskTest, PartsAreDisjointAndTogetherWhatTheDefinitionSays) {
  for (const test::Pattern& pattern : patterns()) {
    const std::vector<Mask> parts = pattern.mask.parts();
    for (std::int64_t query = 0; query < kTokens; ++query) {
      for (std::int64_t key = 0; key < kTokens; ++key) {
        int times = 0;
        for (const Mask& part : parts) {
          const Interval seen = part.seen(query);
          EXPECT_LE(seen.begin, seen.end) << pattern.name << ", query " << query;
          times += key >= seen.begin && key < seen.end;
        }
        EXPECT_EQ(times, pattern.sees(query, key) ? 1 : 0)
            << pattern.name << ", query " << query << ", key " << key;
      }
    }
  }
}

TEST(MaskTest, APartIsItsOwnOnlyPart) {
  for (const test::Pattern& pattern : patterns()) {
    for (const Mask& part : pattern.mask.parts()) {
      EXPECT_TRUE(part.is_one_part()) << pattern.name;
      EXPECT_EQ(part.parts().size(), 1u) << pattern.name;
      EXPECT_EQ(part.parts().front(), part) << pattern.name;
    }
  }
  EXPECT_FALSE(Mask::sinks(1, 1).is_one_part());
  EXPECT_EQ(Mask::sinks(0, 7), Mask::window(7));
}

TEST(MaskTest, WhatSomeRowSeesIsNoMoreAndNoLess) {
  for (const test::Pattern& pattern : patterns()) {
    for (std::int64_t first = 0; first < kTokens; first += 3) {
      for (std::int64_t last = first; last < kTokens; last += 5) {
        std::vector<bool> expected(first), found(first);
        for (std::int64_t query = first; query <= last; ++query) {
          for (std::int64_t key = 0; key < first; ++key) {
            if (pattern.sees(query, key)) expected[key] = true;
          }
        }
        std::int64_t end = -1;
        for (const Interval& seen : seen_by_some(pattern.mask, {first, last + 1}, first)) {
          EXPECT_LT(end, seen.begin) << "touching intervals are one";
          EXPECT_LT(seen.begin, seen.end);
          end = seen.end;
          std::fill(found.begin() + seen.begin, found.begin() + seen.end, true);
        }
        EXPECT_EQ(found, expected) << pattern.name << ", rows " << first << " to " << last;
      }
    }
  }
}

TEST(MaskTest, TheHullOfSomeRowsHoldsWhatEachSees) {
  for (const test::Pattern& pattern : patterns()) {
    for (const Mask& part : pattern.mask.parts()) {
      for (std::int64_t first = 0; first < kTokens; first += 3) {
        for (std::int64_t last = first; last < kTokens; last += 5) {
          const Interval hull = part.seen(first, last);
          for (std::int64_t query = first; query <= last; ++query) {
            const Interval seen = part.seen(query);
            if (seen.begin == seen.end) continue;
            EXPECT_TRUE(hull.begin <= seen.begin && hull.end >= seen.end) << pattern.name;
          }
        }
      }
    }
  }
}

TEST(ApproximationTest, StarsEndIsTheLastBlockOrWhatWasAskedFor) {
  const auto exact_from = [](std::int64_t prompt, std::optional<std::int64_t> query) {
    const Approximation star{
        .kind = AttentionKind::kStar, .block_tokens = 10, .query_tokens = query};
    const Mask mask = approximated(Mask::causal(), star, prompt);
    std::int64_t first = 0;
    while (mask.near_from(first + 10) != 0) ++first;  // the first block is all its rows see
    return first + 10;
  };
  EXPECT_EQ(exact_from(35, std::nullopt), 30);
  EXPECT_EQ(exact_from(40, std::nullopt), 30);
  EXPECT_EQ(exact_from(41, std::nullopt), 40);
  EXPECT_EQ(exact_from(35, 3), 32);
  EXPECT_EQ(exact_from(35, 0), 35);
}

TEST(ApproximationTest, OnlyCausalLayersAreApproximated) {
  const Approximation sinks{.kind = AttentionKind::kSinks, .sink_tokens = 2, .window_tokens = 5};
  EXPECT_EQ(approximated(Mask::causal(), sinks, 10), Mask::sinks(2, 5));
  EXPECT_EQ(approximated(Mask::window(9), sinks, 10), Mask::window(9));
  EXPECT_EQ(approximated(Mask::full(), sinks, 10), Mask::full());
  EXPECT_EQ(approximated(Mask::causal(), {}, 10), Mask::causal());
}

}  // namespace
}  // namespace longspan
