#include "attention/sliced_decode.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "attention/scratch.h"

namespace longspan {

//   compute  | q x own keys, all heads | pack by heads | exchange | merge own heads    time -->
//
// As in mirrored_decode.cc nothing could run while the partials travel, so all is in one stream.

namespace {

/// Partials of some heads of some rows: (rows, heads, head_dim), and (rows, heads) of lse behind
/// them, as one message; or apart, as two.
struct HeadMessage {
  std::vector<int> rows;  // of the batch
  Slice heads;
  Partial at{};

  std::int64_t items() const { return std::ssize(rows) * heads.count; }
  std::int64_t values(int head_dim) const { return items() * (head_dim + 1); }
  void lie_at(float* memory, int head_dim) { at = {memory, memory + items() * head_dim}; }
  /// Of the `i`-th row: as (heads, 1, head_dim).
  Partial row(std::int64_t i, int head_dim) const {
    return {.o = at.o + i * heads.count * head_dim, .lse = at.lse + i * heads.count};
  }

  /// Adds the message to a list of those sent, or received.
  template <typename Message>
  void add_to(std::vector<Message>& messages, int peer, int head_dim, bool apart) const {
    if (!apart) {
      messages.push_back({peer, message_bytes(at.o, values(head_dim))});
      return;
    }
    messages.push_back({peer, message_bytes(at.o, items() * head_dim)});
    messages.push_back({peer, message_bytes(at.lse, items())});
  }
};

std::int64_t stride_bytes(std::int64_t values) { return values * sizeof(float); }

/// Enqueues the copy of the message's heads out of `all`, the partials of its rows.
void pack(Device& device, Stream& compute, const Partial& all, const HeadShape& shape,
          const HeadMessage& message) {
  const auto copy = [&](float* to, const float* from, std::int64_t head_values) {
    const std::int64_t width = stride_bytes(message.heads.count * head_values);
    device.copy_rows(compute, reinterpret_cast<std::byte*>(to), width,
                     reinterpret_cast<const std::byte*>(from + message.heads.first * head_values),
                     stride_bytes(shape.query_heads * head_values), width, message.rows.size());
  };
  if (message.items() == 0) return;
  const Partial to = message.row(0, shape.head_dim);
  copy(to.o, all.o, shape.head_dim);
  copy(to.lse, all.lse, 1);
}

}  // namespace

SlicedDecode::SlicedDecode(Device& device, AttentionKernels& kernels, DecodeMemory& memory)
    : DecodeAttention(device, kernels, memory),
      single_heads_(kernels.for_heads(
          {.query_heads = 1, .kv_heads = 1, .head_dim = kernels.shape().head_dim})) {}

// All heads of the own rows; the same again, cut by receiver; a share of the heads from each rank.
// The shares of N ranks are at most heads + N - 1 together.
std::int64_t SlicedDecode::scratch_values(const HeadShape& shape, const DecodeLimits& limits) {
  const std::int64_t head_row = shape.head_dim + 1;
  const std::int64_t received = (shape.query_heads + limits.ranks - 1) * head_row;
  return limits.rows * (2 * partial_values(shape) + received + shape.query_heads) +
         (2 * limits.ranks + 2) * area_values(1);
}

void SlicedDecode::run(Stream& compute, const Group& group, const DecodeBatch& batch,
                       const KvPages& pages, const float* q, float* out) {
  const HeadShape& shape = kernels_.shape();
  const int dim = shape.head_dim;
  Scratch scratch(memory_.scratch);
  const std::vector<int> own_rows = batch.owned(batch.rank);
  const Partial own = partial_at(scratch.take(std::ssize(own_rows) * partial_values(shape)),
                                 std::ssize(own_rows), shape);
  std::vector<DecodeRow> local;
  for (std::int64_t i = 0; i < std::ssize(own_rows); ++i) {
    local.push_back(local_row(batch, own_rows[i], pages, q + own_rows[i] * query_values(shape),
                              partial_row(own, i, shape)));
  }
  if (!local.empty()) kernels_.decode(compute, std::move(local));

  // A rank's only row goes as it lies where a message more takes less than packing it.
  const auto lies_apart = [&](const std::vector<int>& rows) {
    return rows.size() == 1 && group.is_prompt();
  };
  /// Fills a message of own rows, in memory for it.
  const auto fill = [&](HeadMessage& message, float* memory) {
    message.lie_at(memory, dim);
    if (lies_apart(own_rows)) {
      message.at = {own.o + message.heads.first * dim, own.lse + message.heads.first};
    } else {
      pack(device_, compute, own, shape, message);
    }
  };
  std::vector<HeadMessage> arrived(batch.size);  // one from each rank, this one too
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (int j = 0; j < batch.size; ++j) {
    HeadMessage& in = arrived[j] = {.rows = batch.owned(j), .heads = heads(batch)};
    float* const here = scratch.take(in.values(dim));
    if (j == batch.rank) {
      fill(in, here);
      continue;
    }
    in.lie_at(here, dim);
    HeadMessage to{.rows = own_rows, .heads = heads_of(batch, j)};
    fill(to, scratch.take(to.values(dim)));
    to.add_to(sends, j, dim, lies_apart(own_rows));
    in.add_to(receives, j, dim, lies_apart(in.rows));
  }
  group.exchange(compute, std::move(sends), std::move(receives));

  const int count = heads(batch).count;
  if (count == 0) return;
  float* unread = scratch.take(std::ssize(batch.rows) * count);  // the merged lse
  for (std::int64_t row = 0; row < std::ssize(batch.rows); ++row) {
    std::vector<Partial> partials;
    for (int owner : batch.rows[row].owners) {
      const std::vector<int>& rows = arrived[owner].rows;
      const auto i = std::ranges::find(rows, static_cast<int>(row)) - rows.begin();
      partials.push_back(arrived[owner].row(i, dim));
    }
    single_heads_->merge(compute, std::move(partials),
                         {out + row * count * dim, unread + row * count}, count);
  }
}

}  // namespace longspan
