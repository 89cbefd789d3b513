#include "attention/head_slice.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <vector>

namespace longspan {
namespace {

/// The KV heads of the model that each part holds.
std::vector<std::vector<int>> kv_heads(int query_heads, int kv_heads, int parts) {
  std::vector<std::vector<int>> all(parts);
  for (int part = 0; part < parts; ++part) {
    const HeadSlice slice = slice_heads({query_heads, kv_heads, 64}, part, parts);
    for (int head = 0; head < slice.shape.kv_heads; ++head) {
      all[part].push_back(slice.first_kv + head);
    }
  }
  return all;
}

using Sets = std::vector<std::vector<int>>;

TEST(HeadSliceTest, KvHeadsAreThoseThatThePartsQueriesRead) {
  EXPECT_EQ(kv_heads(12, 2, 3), (Sets{{0}, {0, 1}, {1}}));
  EXPECT_EQ(kv_heads(12, 2, 4), (Sets{{0}, {0}, {1}, {1}}));
  EXPECT_EQ(kv_heads(28, 4, 7), (Sets{{0}, {0, 1}, {1}, {1, 2}, {2}, {2, 3}, {3}}));
  EXPECT_EQ(kv_heads(12, 12, 4), (Sets{{0, 1, 2}, {3, 4, 5}, {6, 7, 8}, {9, 10, 11}}));
}

TEST(HeadSliceTest, EveryQueryReadsTheKvHeadThatItReadsInTheModel) {
  for (int group : {1, 2, 3, 4, 6, 7}) {
    for (int kv : {1, 2, 3, 4}) {
      const int queries = group * kv;
      for (int parts = 1; parts <= queries; ++parts) {
        if (queries % parts != 0) continue;
        for (int part = 0; part < parts; ++part) {
          const HeadSlice slice = slice_heads({queries, kv, 16}, part, parts);
          std::set<int> served;
          for (int head = 0; head < slice.shape.kv_heads; ++head) {
            const HeadRange readers = slice.shape.readers(head);
            EXPECT_GT(readers.count, 0);
            for (int q = readers.first; q < readers.first + readers.count; ++q) {
              EXPECT_EQ((slice.first_query + q) / group, slice.first_kv + head);
              EXPECT_TRUE(served.insert(q).second);
            }
          }
          EXPECT_EQ(std::ssize(served), queries / parts);
          EXPECT_EQ(slice.first_query, part * queries / parts);
        }
      }
    }
  }
}

TEST(HeadSliceTest, PartsThatDoNotDivideTheHeadsAreTheCallersMistake) {
  EXPECT_THROW(slice_heads({12, 2, 16}, 0, 5), std::logic_error);
  EXPECT_THROW(slice_heads({12, 2, 16}, 3, 3), std::logic_error);
  EXPECT_THROW(slice_heads({12, 2, 16}, 0, 0), std::logic_error);
}

}  // namespace
}  // namespace longspan
