#include "launch/bench/attention_workload.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "attention/random_values.h"
#include "comm/error.h"

namespace longspan {

AttentionWorkload::AttentionWorkload(Device& device, AttentionKernels& kernels, std::int64_t rows,
                                     int pages, const KvPageShape& page)
    : device_(device),
      kernels_(kernels),
      pool_(device, page, pages),
      slots_(pages),
      q_(device.allocate(rows * query_values(kernels.shape()) * sizeof(float))),
      acc_(device.allocate(rows * query_values(kernels.shape()) * sizeof(float))),
      m_(device.allocate(rows * kernels.shape().query_heads * sizeof(float))),
      l_(device.allocate(rows * kernels.shape().query_heads * sizeof(float))),
      compute_(device.new_stream()) {
  expects(page.layers == 1 && !has_scales(page.type), "pages of one layer, of values alone");
  std::iota(slots_.begin(), slots_.end(), 0);
  std::ranges::shuffle(slots_, std::mt19937(1));
  constexpr std::uint32_t kSeed = 2;
  fill_randomly(device, *compute_,
                {static_cast<std::byte*>(pool_.layer(0).k), pages * page.page_bytes()}, kSeed,
                page.type);
  for (const Buffer* buffer : {&q_, &acc_, &m_, &l_}) {
    fill_randomly(device, *compute_, buffer->bytes(), kSeed);
  }
}

std::int64_t AttentionWorkload::memory_bytes(std::int64_t rows, std::int64_t pages,
                                             const KvPageShape& page) {
  const std::int64_t row_values = 2 * (query_values(page.heads) + page.heads.query_heads);
  return pages * static_cast<std::int64_t>(page.page_bytes()) +
         rows * row_values * static_cast<std::int64_t>(sizeof(float));
}

void AttentionWorkload::write_own_keys(PrefillAttention& attention, const SplitChunk& chunk) {
  const std::int64_t rows = chunk.own().rows;
  if (rows == 0) return;
  KvView pages = pool_.layer(0);
  pages.table = slots_.data();
  kernels_.copy_kv(*compute_,
                   {{.from = pages,
                     .from_column = 0,
                     .to = attention.own_stream(chunk),
                     .to_columns = {.first = 0, .block = 1, .stride = 1, .count = rows}}});
  compute_->synchronize();
}

void AttentionWorkload::attend(PrefillAttention& attention, const Group& group,
                               const SplitChunk& chunk) {
  attention.run(*compute_, group, chunk, pool_.layer(0), q_.as<float>().data(),
                {acc_.as<float>().data(), m_.as<float>().data(), l_.as<float>().data()});
}

void AttentionWorkload::decode(DecodeAttention& attention, const Group& group,
                               const DecodeBatch& batch) {
  attention.run(*compute_, group, batch, pool_.layer(0), q_.as<float>().data(),
                acc_.as<float>().data());
}

void AttentionWorkload::decode_own(const DecodeBatch& batch) {
  const HeadShape& shape = kernels_.shape();
  std::vector<DecodeRow> rows;
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    const DecodeBatchRow& row = batch.rows[i];
    if (row.columns == 0) continue;
    KvSegment own{.view = pool_.layer(0), .len = row.columns};
    own.view.table = row.slots.data();
    const auto at = static_cast<std::int64_t>(i);
    rows.push_back({.q = q_.as<float>().data() + at * query_values(shape),
                    .segments = {own},
                    .out = {.o = acc_.as<float>().data() + at * query_values(shape),
                            .lse = l_.as<float>().data() + at * shape.query_heads}});
  }
  if (!rows.empty()) kernels_.decode(*compute_, std::move(rows));
}

}  // namespace longspan
