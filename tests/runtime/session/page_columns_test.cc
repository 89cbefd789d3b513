// Columns between pages that are cut otherwise, value by value.
#include "runtime/session/page_columns.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "comm/str.h"

namespace longspan {
namespace {

KvPageShape shape_of(int heads, std::int64_t tokens, KvType type = KvType::kFloat32) {
  return {.heads = {.query_heads = heads, .kv_heads = heads, .head_dim = 4},
          .layers = 2,
          .page_tokens = tokens,
          .type = type};
}

class PageColumnsTest : public testing::Test {
 protected:
  CpuDevice device_{1};
  std::unique_ptr<Stream> stream_ = device_.new_stream();
};

TEST_F(PageColumnsTest, GoWhereTheyBelongAndNothingElseChanges) {
  const KvPageShape from_shape = shape_of(3, 5), to_shape = shape_of(2, 7);
  const PageCut cut{
      .heads = 2, .from_head = 1, .to_head = 0, .columns = 3, .from_column = 2, .to_column = 4};
  KvPagePool pool(device_, to_shape, 3);
  const PageMemory to = page_of(pool, 1);
  for (int layer = 0; layer < 2; ++layer) {
    auto* values = static_cast<float*>(pool.layer(layer).k);
    std::fill_n(values, 3 * to_shape.piece_bytes() / sizeof(float), -1.0f);
  }
  std::vector<float> from(from_shape.page_bytes() / sizeof(float));
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
  copy_columns(device_, *stream_, to,
               page_at(reinterpret_cast<std::byte*>(from.data()), from_shape), cut);
  stream_->synchronize();

  int copied = 0;
  for (int layer = 0; layer < 2; ++layer) {
    const auto* values = static_cast<const float*>(pool.layer(layer).k);
    for (int slot = 0; slot < 3; ++slot) {
      for (int kv = 0; kv < 2; ++kv) {
        for (int head = 0; head < 2; ++head) {
          for (int column = 0; column < 7; ++column) {
            for (int i = 0; i < 4; ++i, ++values) {
              const bool is_cut = slot == 1 && column >= 4;
              const int source = (((layer * 2 + kv) * 3 + head + 1) * 5 + column - 2) * 4 + i;
              EXPECT_EQ(*values, is_cut ? static_cast<float>(source) : -1.0f) << str(
                  "layer {}, slot {}, {}, head {}, column {}", layer, slot, kv, head, column);
              copied += is_cut;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(copied, 2 * 2 * 2 * 3 * 4);
}

TEST_F(PageColumnsTest, ScalesGoWithTheirHeads) {
  const KvPageShape wide = shape_of(3, 2, KvType::kInt8), narrow = shape_of(1, 2, KvType::kInt8);
  std::vector<std::byte> from(wide.page_bytes()), to(narrow.page_bytes());
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i);
  copy_columns(device_, *stream_, page_at(to.data(), narrow), page_at(from.data(), wide),
               {.heads = 1, .from_head = 2, .columns = 2});
  stream_->synchronize();
  const std::size_t values = 3 * 2 * 4;  // of K, and of V
  for (int layer = 0; layer < 2; ++layer) {
    const std::byte* mine = to.data() + layer * narrow.piece_bytes();
    const std::byte* theirs = from.data() + layer * wide.piece_bytes();
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(mine[i], theirs[16 + i]);
      EXPECT_EQ(mine[8 + i], theirs[values + 16 + i]);
    }
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(mine[16 + i], theirs[2 * values + 8 + i]);
      EXPECT_EQ(mine[20 + i], theirs[2 * values + 20 + i]);
    }
  }
}

TEST_F(PageColumnsTest, WhatWasRoundedTogetherIsNotCut) {
  const KvPageShape shape = shape_of(1, 4, KvType::kInt8);
  std::vector<std::byte> page(shape.page_bytes());
  const PageMemory memory = page_at(page.data(), shape);
  EXPECT_THROW(copy_columns(device_, *stream_, memory, memory, {.heads = 1, .columns = 3}),
               std::logic_error);
}

}  // namespace
}  // namespace longspan
