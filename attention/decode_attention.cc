#include "attention/decode_attention.h"

#include <algorithm>
#include <utility>

#include "comm/error.h"

namespace longspan {

/// What one rank and this one owe each other in a step. Areas are null when no row needs them.
struct DecodeAttention::Peer {
  int rank;
  std::vector<int> out_rows;  // mine, that need its keys
  std::vector<int> in_rows;   // its, that need mine
  float* out_q = nullptr;
  float* in_q = nullptr;
  float* out_partials = nullptr;  // for its rows
  float* in_partials = nullptr;   // of my rows

  bool idle() const { return out_rows.empty() && in_rows.empty(); }
};

namespace {

std::span<std::byte> bytes(float* memory, std::int64_t values) {
  return std::as_writable_bytes(std::span(memory, static_cast<std::size_t>(values)));
}

std::int64_t q_values(const HeadShape& shape) {
  return static_cast<std::int64_t>(shape.query_heads) * shape.head_dim;
}

std::int64_t partial_values(const HeadShape& shape) {
  return static_cast<std::int64_t>(shape.query_heads) * (shape.head_dim + 1);
}

}  // namespace

std::vector<int> DecodeBatch::shipped(int master, int owner) const {
  std::vector<int> out;
  for (int i = 0; i < std::ssize(rows); ++i) {
    if (rows[i].master == master && std::ranges::count(rows[i].owners, owner) > 0) out.push_back(i);
  }
  return out;
}

std::vector<int> DecodeBatch::mastered(int master) const {
  std::vector<int> out;
  for (int i = 0; i < std::ssize(rows); ++i) {
    if (rows[i].master == master) out.push_back(i);
  }
  return out;
}

// A row mastered here holds its local partial, and a query out and a partial in per other owner; a
// row served here holds one of each.
std::size_t DecodeAttention::memory_bytes(const HeadShape& shape, int max_rows, int max_ranks) {
  const std::int64_t per_row = q_values(shape) + partial_values(shape);
  return sizeof(float) * per_row * max_rows * max_ranks;
}

DecodeAttention::DecodeAttention(Device& device, AttentionKernels& kernels, int max_rows,
                                 int max_ranks)
    : device_(device),
      kernels_(kernels),
      max_rows_(max_rows),
      memory_(device.allocate(memory_bytes(kernels.shape(), max_rows, max_ranks))),
      transfer_(device.new_stream()) {}

/// Row `row` of `rows` partials that lie back to back: all O, then all lse.
Partial DecodeAttention::partial_at(float* memory, std::int64_t row, std::int64_t rows) const {
  const HeadShape& shape = kernels_.shape();
  return {.o = memory + row * q_values(shape),
          .lse = memory + rows * q_values(shape) + row * shape.query_heads};
}

DecodeRow DecodeAttention::local_row(const DecodeBatch& batch, int row, const KvView& pages,
                                     const float* q, Partial out) const {
  DecodeRow local{.q = q, .segments = {}, .out = out};
  const DecodeBatchRow& source = batch.rows[row];
  KvView view = pages;
  view.table = source.slots.data();
  view.page_tokens = batch.page_tokens;
  for (std::int64_t column = source.first; column < source.columns;) {
    // What is left of a page that the window begins in is a segment of its own.
    const std::int64_t inside = column % batch.page_tokens;
    const std::int64_t left = source.columns - column;
    const std::int64_t count = inside == 0 ? left : std::min(left, batch.page_tokens - inside);
    local.segments.push_back({.view = view.from(column, kernels_.shape().head_dim), .len = count});
    column += count;
  }
  return local;
}

/// Cuts the step's memory into the areas each peer needs; the first peer listed is this rank
/// itself, whose `out_partials` hold the local partials of the rows it masters.
std::vector<DecodeAttention::Peer> DecodeAttention::lay_out(const DecodeBatch& batch) {
  const HeadShape& shape = kernels_.shape();
  float* next = memory_.as<float>().data();
  const auto take = [&](std::int64_t values) { return std::exchange(next, next + values); };

  std::vector<Peer> peers{
      {.rank = batch.rank, .out_rows = {}, .in_rows = batch.mastered(batch.rank)}};
  peers.front().out_partials = take(std::ssize(peers.front().in_rows) * partial_values(shape));
  for (int j = 0; j < batch.size; ++j) {
    if (j == batch.rank) continue;
    Peer peer{.rank = j,
              .out_rows = batch.shipped(batch.rank, j),
              .in_rows = batch.shipped(j, batch.rank)};
    if (peer.idle()) continue;
    const std::int64_t out = std::ssize(peer.out_rows), in = std::ssize(peer.in_rows);
    peer.out_q = take(out * q_values(shape));
    peer.in_q = take(in * q_values(shape));
    peer.out_partials = take(in * partial_values(shape));
    peer.in_partials = take(out * partial_values(shape));
    peers.push_back(std::move(peer));
  }
  return peers;
}

/// Packs the queries each peer needs and exchanges them behind everything enqueued so far.
void DecodeAttention::announce(Stream& compute, const Group& group, const DecodeBatch& batch,
                               const std::vector<Peer>& peers, const float* q) {
  const std::int64_t width = q_values(kernels_.shape());
  const std::vector<int> mine = batch.mastered(batch.rank);
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const Peer& peer : peers) {
    if (peer.rank == batch.rank) continue;
    for (std::size_t i = 0; i < peer.out_rows.size(); ++i) {
      const auto at = std::ranges::find(mine, peer.out_rows[i]) - mine.begin();
      device_.copy(compute, bytes(peer.out_q + i * width, width),
                   bytes(const_cast<float*>(q) + at * width, width));
    }
    sends.push_back({peer.rank, bytes(peer.out_q, std::ssize(peer.out_rows) * width)});
    receives.push_back({peer.rank, bytes(peer.in_q, std::ssize(peer.in_rows) * width)});
  }
  transfer_->wait(compute.record());
  group.exchange(*transfer_, std::move(sends), std::move(receives));
}

void DecodeAttention::merge(Stream& compute, const DecodeBatch& batch,
                            const std::vector<Peer>& peers, float* out) {
  const HeadShape& shape = kernels_.shape();
  const std::vector<int>& mine = peers.front().in_rows;
  for (std::int64_t i = 0; i < std::ssize(mine); ++i) {
    const Partial local = partial_at(peers.front().out_partials, i, std::ssize(mine));
    std::vector<Partial> partials;
    for (int owner : batch.rows[mine[i]].owners) {
      if (owner == batch.rank) {
        partials.push_back(local);
        continue;
      }
      const auto peer = std::ranges::find(peers, owner, &Peer::rank);
      const auto at = std::ranges::find(peer->out_rows, mine[i]) - peer->out_rows.begin();
      partials.push_back(partial_at(peer->in_partials, at, std::ssize(peer->out_rows)));
    }
    // The merged lse has no reader; the local one, read by then, makes room for it.
    kernels_.merge(compute, std::move(partials), {out + i * q_values(shape), local.lse}, 1);
  }
}

void DecodeAttention::run(Stream& compute, const Group& group, const DecodeBatch& batch,
                          const KvView& pages, const float* q, float* out) {
  expects(std::ssize(batch.rows) <= max_rows_, "the batch fits the memory planned for it");
  const std::int64_t width = q_values(kernels_.shape());
  const std::vector<Peer> peers = lay_out(batch);
  const bool alone = peers.size() == 1;
  if (!alone) announce(compute, group, batch, peers, q);
  const Event arrived = alone ? Event() : transfer_->record();

  const Peer& self = peers.front();
  std::vector<DecodeRow> own;
  for (std::int64_t i = 0; i < std::ssize(self.in_rows); ++i) {
    own.push_back(local_row(batch, self.in_rows[i], pages, q + i * width,
                            partial_at(self.out_partials, i, std::ssize(self.in_rows))));
  }
  if (!own.empty()) kernels_.decode(compute, std::move(own));

  if (!alone) {
    compute.wait(arrived);
    std::vector<DecodeRow> served;
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (const Peer& peer : peers) {
      if (peer.rank == batch.rank) continue;
      const std::int64_t in = std::ssize(peer.in_rows), back = std::ssize(peer.out_rows);
      for (std::int64_t i = 0; i < in; ++i) {
        served.push_back(local_row(batch, peer.in_rows[i], pages, peer.in_q + i * width,
                                   partial_at(peer.out_partials, i, in)));
      }
      const std::int64_t values = partial_values(kernels_.shape());
      sends.push_back({peer.rank, bytes(peer.out_partials, in * values)});
      receives.push_back({peer.rank, bytes(peer.in_partials, back * values)});
    }
    if (!served.empty()) kernels_.decode(compute, std::move(served));
    transfer_->wait(compute.record());
    group.exchange(*transfer_, std::move(sends), std::move(receives));
    compute.wait(transfer_->record());
  }
  merge(compute, batch, peers, out);
}

}  // namespace longspan
