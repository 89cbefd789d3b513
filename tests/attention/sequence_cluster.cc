#include "tests/attention/sequence_cluster.h"

#include <algorithm>
#include <limits>

namespace longspan::test {
namespace {

void poison(const Buffer& buffer) { std::ranges::fill(buffer.bytes(), std::byte{0xff}); }  // NaN

}  // namespace

PagedRank::PagedRank(const HeadShape& heads, std::int64_t tokens, int pages, KvType of, int layers)
    : shape(heads),
      page_tokens(tokens),
      type(of),
      kernels(new_cpu_attention_kernels(heads, RandomSequence::scale(heads))),
      count_(pages),
      memory_(device.allocate(
          has_scales(type) ? layers * (bytes(type, pages) + bytes(filling_type(type), pages + 1))
                           : bytes(type, pages))) {
  poison(memory_);
}

KvPages PagedRank::pages(int layer) const {
  const auto pages_of = [&](KvType of, std::byte* at) {
    return pages_at(at, of, shape, page_tokens);
  };
  std::byte* memory = memory_.bytes().data();
  if (!has_scales(type)) return pages_of(type, memory);
  const KvType filling = filling_type(type);
  memory += layer * (bytes(type, count_) + bytes(filling, count_ + 1));
  std::byte* tail = memory + bytes(type, count_);
  return {pages_of(type, memory), pages_of(filling, tail),
          pages_of(filling, tail + bytes(filling, 1))};
}

Buffer PagedRank::new_buffer(std::int64_t values) {
  Buffer buffer = device.allocate(values * sizeof(float));
  poison(buffer);
  return buffer;
}

SequenceStorage storage_on(int rank, std::int64_t page_tokens, const std::vector<int>& owners) {
  SequenceStorage storage{.page_tokens = page_tokens, .owners = owners, .slots = {}};
  auto own = static_cast<std::int32_t>(std::ranges::count(owners, rank));
  while (own > 0) storage.slots.push_back(--own);
  return storage;
}

std::vector<float> chunk_rows(PagedRank& rank, PrefillAttention& attention, Group& group,
                              const Deal& deal, const SequenceStorage& storage,
                              const RandomSequence& sequence, int layers) {
  const HeadShape& shape = rank.shape;
  const SplitChunk chunk = make_split_chunk(deal, group.rank(), storage, sequence.mask());
  const std::int64_t rows = chunk.own().rows;
  const std::int64_t width = sequence.q_width();
  const Buffer q = rank.new_buffer(rows * width);
  const Buffer out = rank.new_buffer(rows * width);
  const Buffer softmax = rank.new_buffer(2 * rows * shape.query_heads);
  const RunningState state{out.as<float>().data(), softmax.as<float>().data(),
                           softmax.as<float>().data() + rows * shape.query_heads};
  const auto compute = rank.device.new_stream();
  for (int layer = 0; layer < layers; ++layer) {
    const auto factor = static_cast<float>(layers - layer);  // 1 in the layer that is checked
    as_cpu(*compute).enqueue([&, factor] {
      for (std::int64_t i = 0; i < rows; ++i) {
        const float* row = sequence.q(chunk.positions[i]);
        std::transform(row, row + width, q.as<float>().data() + i * width,
                       [&](float v) { return factor * v; });
        sequence.store(chunk.positions[i], attention.own_stream(chunk), i, factor);
      }
    });
    const KvPages pages = rank.pages(layer);
    begin_keeping(*compute, *rank.kernels, pages, chunk);
    attention.run(*compute, group, chunk, pages, q.as<float>().data(), state);
    settle(*compute, *rank.kernels, pages, chunk);
  }
  compute->synchronize();
  const auto values = out.as<float>();
  return {values.begin(), values.end()};
}

double run_chunk(PagedRank& rank, PrefillAttention& attention, Group& group, const Deal& deal,
                 const SequenceStorage& storage, const RandomSequence& sequence) {
  const std::vector<float> rows = chunk_rows(rank, attention, group, deal, storage, sequence);
  const SplitChunk chunk = make_split_chunk(deal, group.rank(), storage);
  const std::int64_t everything = deal.first + deal.count;
  double worst = 0;
  for (std::size_t i = 0; i < chunk.positions.size(); ++i) {
    const std::int64_t position = chunk.positions[i];
    const auto expected = sequence.mask().is_full() ? sequence.expected(position, everything)
                                                    : sequence.expected(position);
    worst = std::max(worst, worst_error(&rows[i * sequence.q_width()], expected));
  }
  return worst;
}

int missing_columns(const PagedRank& rank, int index, const SequenceStorage& storage,
                    const RandomSequence& sequence, std::int64_t length) {
  KvView view = rank.pages().rest;
  view.table = storage.slots.data();
  int missing = 0;
  std::int64_t own = 0;
  for (std::int64_t position = 0; position < length; ++position) {
    const std::int64_t page = position / storage.page_tokens;
    if (storage.owners[page] != index) continue;
    const std::int64_t column = own * storage.page_tokens + position % storage.page_tokens;
    if (!sequence.stored(position, view, column)) ++missing;
    if ((position + 1) % storage.page_tokens == 0) ++own;
  }
  return missing;
}

}  // namespace longspan::test
