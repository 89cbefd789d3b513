// Where columns lie while pages with scales fill: chunks in any order, decode rows, any page size.
#include "attention/kv_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "attention/kv_streams.h"
#include "comm/cpu/cpu_device.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr HeadShape kShape{.query_heads = 2, .kv_heads = 2, .head_dim = 16};
constexpr int kTails = 3;

/// K and V of a position: (K or V, head, dim).
std::vector<float> values_at(std::int64_t position) {
  std::minstd_rand random(static_cast<unsigned>(position + 1));
  std::vector<float> values(kShape.kv_values());
  for (float& value : values) value = static_cast<float>(random()) * 0x1p-29f - 2;
  return values;
}

void write(const KvView& view, std::int64_t column, std::int64_t position) {
  const std::vector<float> values = values_at(position);
  for (int head = 0; head < kShape.kv_heads; ++head) {
    const KvView at = view.shifted(view.offset(column, head, kShape.head_dim));
    const float* k = &values[head * kShape.head_dim];
    const float* v = k + kShape.kv_values() / 2;
    narrow(view.type, k, kShape.head_dim, at.k);
    narrow(view.type, v, kShape.head_dim, at.v);
  }
}

/// One rank's pages of a sequence, in memory that holds garbage.
class RankPages {
 public:
  RankPages(KvType type, std::int64_t page_tokens, int count)
      : rest_(count * page_bytes(type, kShape, page_tokens), std::byte{0xff}),
        tails_(kTails * page_bytes(KvType::kBFloat16, kShape, page_tokens), std::byte{0xff}),
        fresh_(count * page_bytes(KvType::kBFloat16, kShape, page_tokens), std::byte{0xff}),
        pages(pages_at(rest_.data(), type, kShape, page_tokens),
              pages_at(tails_.data(), KvType::kBFloat16, kShape, page_tokens),
              pages_at(fresh_.data(), KvType::kBFloat16, kShape, page_tokens)) {}

 private:
  std::vector<std::byte> rest_, tails_, fresh_;

 public:
  const KvPages pages;  // in those
};

/// K and V of own columns [0, columns), widened: (columns, kv values).
std::vector<float> read(AttentionKernels& kernels, Stream& stream, const KvPages& pages,
                        const OwnPages& own, std::int64_t columns) {
  std::vector<float> out;
  for (const KvPart& part : pages.parts(own, {0, columns}, columns, kShape.head_dim)) {
    std::vector<float> wide(part.columns * kShape.kv_values());
    const KvView to = pages_at(wide.data(), KvType::kFloat32, kShape, 1);
    kernels.copy_kv(
        stream, {{part.view, 0, to, {.first = 0, .block = 1, .stride = 1, .count = part.columns}}});
    stream.synchronize();
    out.insert(out.end(), wide.begin(), wide.end());
  }
  return out;
}

/// What must be read of a rank that holds `positions`: full pages rounded by the head, the rest to
/// bfloat16.
std::vector<float> expected(const std::vector<std::int64_t>& positions, std::int64_t page_tokens) {
  const std::int64_t dim = kShape.head_dim, width = kShape.kv_values();
  std::vector<float> out;
  for (std::int64_t position : positions) {
    std::vector<float> values = values_at(position);
    std::vector<std::uint16_t> halves(width);
    narrow(KvType::kBFloat16, values.data(), width, halves.data());
    widen(KvType::kBFloat16, halves.data(), width, values.data());
    out.insert(out.end(), values.begin(), values.end());
  }
  const std::int64_t full = std::ssize(positions) / page_tokens * page_tokens;
  for (std::int64_t page = 0; page < full; page += page_tokens) {
    for (std::int64_t part = 0; part < width / dim; ++part) {  // K and V of each head
      const auto at = [&](std::int64_t i) -> float& {
        return out[(page + i / dim) * width + part * dim + i % dim];
      };
      std::vector<float> wide(page_tokens * dim);
      for (std::int64_t i = 0; i < std::ssize(wide); ++i) wide[i] = at(i);
      std::vector<std::uint16_t> halves(wide.size());
      narrow(KvType::kBFloat16, wide.data(), std::ssize(wide), halves.data());
      std::vector<std::int8_t> integers(wide.size());
      const float scale = narrow_to_int8(halves.data(), std::ssize(halves), integers.data());
      for (std::int64_t i = 0; i < std::ssize(wide); ++i) at(i) = scale * integers[i];
    }
  }
  return out;
}

class KvPagesTest : public testing::Test {
 protected:
  /// Rank `rank` of three keeps a sequence in chunks of any length, streams in any order, then
  /// decode rows; what it holds is compared after each step.
  void fill(std::int64_t page_tokens, Layout layout, std::int64_t prompt, unsigned seed) {
    std::mt19937 random(seed);
    const int rank = 1;
    const std::int64_t length = prompt + std::min<std::int64_t>(2 * page_tokens + 1, 40);
    SequenceStorage storage{.page_tokens = page_tokens, .owners = {}, .slots = {}, .tail = 2};
    for (std::int64_t page = 0; page * page_tokens < length; ++page) {
      storage.owners.push_back(static_cast<int>(random() % 3));
    }
    for (auto own = std::ranges::count(storage.owners, rank); own-- > 0;) {
      storage.slots.push_back(static_cast<std::int32_t>(own));
    }
    const RankPages here(KvType::kInt8, page_tokens, static_cast<int>(storage.owners.size()));
    const OwnPages own{storage.slots, storage.tail};
    std::vector<std::int64_t> held;  // positions
    const auto add = [&](std::int64_t position) {
      if (storage.owners[position / page_tokens] == rank) held.push_back(position);
    };
    const auto compare = [&] {
      ASSERT_EQ(read(*kernels_, *stream_, here.pages, own, std::ssize(held)),
                expected(held, page_tokens))
          << str("pages of {}, {}, {} tokens, {} held", page_tokens, name(layout), prompt,
                 held.size());
    };

    for (std::int64_t first = 0; first < prompt;) {
      if (testing::Test::HasFatalFailure()) return;
      const auto most = static_cast<std::int64_t>(1 + random() % 40);
      const Deal deal{.layout = layout,
                      .first = first,
                      .count = std::min(most, prompt - first),
                      .ranks = 3,
                      .block = 2};
      keep_chunk(make_split_chunk(deal, rank, storage), here.pages, random);
      for (std::int64_t i = 0; i < deal.count; ++i) add(first + i);
      if (prompt < 200 || first + deal.count == prompt) compare();
      first += deal.count;
    }
    for (std::int64_t position = prompt; position < length; ++position) {
      if (storage.owners[position / page_tokens] != rank) continue;
      const std::int64_t column = std::ssize(held);
      const KvColumn open = here.pages.open_column(own, column);
      write(open.view, open.column, position);
      add(position);
      if (std::ssize(held) % page_tokens == 0) {
        kernels_->copy_kv(*stream_, {full_tail(here.pages, own, std::ssize(held))});
      }
      compare();
    }
  }

  void keep_chunk(const SplitChunk& chunk, const KvPages& pages, std::mt19937& random) {
    const KvStreams streams(*kernels_, chunk, pages, Cached::kTravel);
    std::vector<int> order(chunk.size());
    for (int j = 0; j < chunk.size(); ++j) order[j] = j;
    std::ranges::shuffle(order, random);
    begin_keeping(*stream_, *kernels_, pages, chunk);
    for (int j : order) {
      std::vector<float> memory(streams.values(j), -1);
      const std::vector<std::int64_t> positions = chunk.streams[j].positions();
      for (std::int64_t row = 0; row < std::ssize(positions); ++row) {
        write(streams.rows(j, memory.data()), row, positions[row]);
      }
      streams.keep(*stream_, j, memory.data());
      stream_->synchronize();
    }
    settle(*stream_, *kernels_, pages, chunk);
    stream_->synchronize();
  }

  CpuDevice device_{1};
  std::unique_ptr<AttentionKernels> kernels_ = new_cpu_attention_kernels(kShape, 1.0f);
  std::unique_ptr<Stream> stream_ = device_.new_stream();
};

TEST_F(KvPagesTest, PagesAreRoundedOnceWhenTheyAreFull) {
  for (std::int64_t page_tokens : {1, 2, 3, 16, 64, 1024}) {
    for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                          Layout::kContiguous, Layout::kFolded}) {
      for (std::int64_t prompt : {std::int64_t{1}, page_tokens - 1, page_tokens, page_tokens + 1,
                                  std::min<std::int64_t>(5 * page_tokens, 100) + 3}) {
        if (prompt < 1 || (page_tokens == 1024 && layout != Layout::kStriped)) continue;
        fill(page_tokens, layout, prompt, static_cast<unsigned>(7 * page_tokens + prompt));
      }
    }
  }
}

TEST_F(KvPagesTest, ChunksInsideOnePageAddToItsTail) {
  SequenceStorage storage{.page_tokens = 64, .owners = {0}, .slots = {0}, .tail = 1};
  const RankPages here(KvType::kInt8, 64, 1);
  std::mt19937 random(1);
  std::vector<std::int64_t> held;
  for (std::int64_t first = 0; first < 64; first += 8) {
    const Deal deal{.first = first, .count = 8, .ranks = 1, .block = 64};
    keep_chunk(make_split_chunk(deal, 0, storage), here.pages, random);
    for (std::int64_t i = 0; i < 8; ++i) held.push_back(first + i);
    EXPECT_EQ(read(*kernels_, *stream_, here.pages, {storage.slots, 1}, std::ssize(held)),
              expected(held, 64));
  }
}

TEST_F(KvPagesTest, PartsCoverWhatIsAskedForAndEndWithTheTail) {
  const RankPages here(KvType::kInt8, 8, 4);
  const std::vector<std::int32_t> slots{3, 2, 1, 0};
  for (std::int64_t end = 0; end <= 32; ++end) {
    for (std::int64_t begin = 0; begin <= end; ++begin) {
      const std::int64_t held = std::min<std::int64_t>(end + begin % 3 * 5, 32);
      const auto parts = here.pages.parts({slots, 2}, {begin, end}, held, kShape.head_dim);
      std::int64_t columns = 0, open = 0;
      for (const KvPart& part : parts) {
        EXPECT_GT(part.columns, 0);
        EXPECT_EQ(open, 0) << "the tail is last";
        columns += part.columns;
        if (part.view.type == KvType::kBFloat16) open = part.columns;
      }
      EXPECT_EQ(columns, end - begin);
      EXPECT_EQ(open, std::max<std::int64_t>(end - std::max(begin, held / 8 * 8), 0));
      EXPECT_LE(parts.size(), 3u);
    }
  }
}

TEST_F(KvPagesTest, PagesWithoutScalesFillInPlace) {
  const RankPages memory(KvType::kBFloat16, 8, 4);
  const KvPages pages(memory.pages.rest);
  const std::vector<std::int32_t> slots{3, 2, 1, 0};
  EXPECT_FALSE(pages.fill_apart());
  const KvColumn open = pages.open_column({slots, 0}, 13);
  EXPECT_EQ(open.column, 13);
  EXPECT_EQ(open.view.table, slots.data());
  EXPECT_EQ(pages.parts({slots, 0}, {0, 13}, 13, kShape.head_dim).size(), 1u);
  EXPECT_EQ(pages.parts({slots, 0}, {3, 13}, 20, kShape.head_dim).size(), 2u);
}

}  // namespace
}  // namespace longspan
