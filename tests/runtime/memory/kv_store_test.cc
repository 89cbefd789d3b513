#include "runtime/memory/kv_store.h"

#include <gtest/gtest.h>

#include "comm/cpu/cpu_device.h"

namespace longspan {
namespace {

KvPageShape page(KvType type, std::int64_t page_tokens = 16) {
  return {.heads = {6, 2, 16}, .layers = 3, .page_tokens = page_tokens, .type = type};
}

TEST(KvStoreTest, Int8TakesAByteAValueAndTwoScalesAHead) {
  EXPECT_EQ(page(KvType::kInt8).page_bytes(), 3u * (16 * 64 + 2 * 2 * 4));
  EXPECT_EQ(page(KvType::kBFloat16).page_bytes(), 3u * 16 * 64 * 2);
}

TEST(KvStoreTest, OnlyPagesWithScalesNeedMemoryToFillIn) {
  for (KvType type : {KvType::kFloat32, KvType::kFloat16, KvType::kBFloat16}) {
    EXPECT_EQ(store_shape(page(type), 5, 4, 100).bytes(), 5 * page(type).page_bytes());
  }
  const KvStoreShape shape = store_shape(page(KvType::kInt8), 5, 4, 33);
  EXPECT_EQ(shape.tails, 4);
  EXPECT_EQ(shape.fresh, 3);  // 1 token, 16 and 16
  EXPECT_EQ(shape.bytes(), 5u * 3 * (1024 + 16) + 4u * 3 * 2048 + 3u * 2048);
}

TEST(KvStoreTest, AChunkTouchesNoMorePagesThanThereAreFreshOnes) {
  for (std::int64_t page_tokens : {1, 2, 16, 1024}) {
    for (std::int64_t chunk : {1, 2, 15, 16, 17, 18, 33, 1025}) {
      std::int64_t most = 0;
      for (std::int64_t first = 0; first < page_tokens; ++first) {
        most = std::max(most, (first + chunk - 1) / page_tokens + 1);
      }
      EXPECT_EQ(store_shape(page(KvType::kInt8, page_tokens), 1, 1, chunk).fresh, most);
    }
  }
}

TEST(KvStoreTest, LayersHaveTailsOfTheirOwnAndShareTheFreshPages) {
  CpuDevice device(1);
  KvStore store(device, store_shape(page(KvType::kInt8), 5, 4, 33));
  ASSERT_NE(store.tails(), nullptr);
  EXPECT_EQ(store.tails()->pages(), 4);
  EXPECT_EQ(store.layer(0).rest.type, KvType::kInt8);
  EXPECT_EQ(store.layer(0).tails.type, KvType::kBFloat16);
  EXPECT_NE(store.layer(0).tails.k, store.layer(1).tails.k);
  EXPECT_EQ(store.layer(0).fresh.k, store.layer(2).fresh.k);
  KvStore plain(device, store_shape(page(KvType::kBFloat16), 5, 4, 33));
  EXPECT_EQ(plain.tails(), nullptr);
  EXPECT_FALSE(plain.layer(0).fill_apart());
}

}  // namespace
}  // namespace longspan
