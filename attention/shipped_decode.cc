#include "attention/shipped_decode.h"

#include <algorithm>
#include <utility>

#include "attention/scratch.h"

namespace longspan {

/// What one rank and this one owe each other in a step. Areas that no row needs are empty.
struct ShippedDecode::Peer {
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

/// Then there is nothing to merge.
bool is_held_alone(const DecodeBatch& batch, int row) {
  const std::vector<int>& owners = batch.rows[row].owners;
  return owners.size() == 1 && owners.front() == batch.rank;
}

}  // namespace

// A row mastered here holds its local partial, and a query out and a partial in per other owner; a
// row served here holds one of each.
std::int64_t ShippedDecode::scratch_values(const HeadShape& shape, const DecodeLimits& limits) {
  const std::int64_t per_row = query_values(shape) + partial_values(shape);
  return per_row * limits.rows * limits.ranks + (1 + 4 * (limits.ranks - 1)) * area_values(1);
}

/// Cuts the step's memory into the areas each peer needs; the first peer listed is this rank
/// itself, whose `out_partials` hold the local partials of the rows it masters.
std::vector<ShippedDecode::Peer> ShippedDecode::lay_out(const DecodeBatch& batch) {
  const HeadShape& shape = kernels_.shape();
  Scratch scratch(memory_.scratch);
  std::vector<Peer> peers{
      {.rank = batch.rank, .out_rows = {}, .in_rows = batch.mastered(batch.rank)}};
  peers.front().out_partials =
      scratch.take(std::ssize(peers.front().in_rows) * partial_values(shape));
  for (int j = 0; j < batch.size; ++j) {
    if (j == batch.rank) continue;
    Peer peer{.rank = j,
              .out_rows = batch.shipped(batch.rank, j),
              .in_rows = batch.shipped(j, batch.rank)};
    if (peer.idle()) continue;
    const std::int64_t out = std::ssize(peer.out_rows), in = std::ssize(peer.in_rows);
    peer.out_q = scratch.take(out * query_values(shape));
    peer.in_q = scratch.take(in * query_values(shape));
    peer.out_partials = scratch.take(in * partial_values(shape));
    peer.in_partials = scratch.take(out * partial_values(shape));
    peers.push_back(std::move(peer));
  }
  return peers;
}

/// Packs the queries each peer needs and exchanges them behind everything enqueued so far: on the
/// compute stream, or on another one for which it is to wait for what this returns.
Event ShippedDecode::announce(Stream& compute, const Group& group, const DecodeBatch& batch,
                              const std::vector<Peer>& peers, const float* q) {
  const std::int64_t width = query_values(kernels_.shape());
  const std::vector<int> mine = batch.mastered(batch.rank);
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const Peer& peer : peers) {
    if (peer.rank == batch.rank) continue;
    const bool needs_all = peer.out_rows.size() == mine.size();  // as they lie
    for (std::size_t i = 0; !needs_all && i < peer.out_rows.size(); ++i) {
      const auto at = std::ranges::find(mine, peer.out_rows[i]) - mine.begin();
      device_.copy(compute, message_bytes(peer.out_q + i * width, width),
                   message_bytes(q + at * width, width));
    }
    sends.push_back(
        {peer.rank, message_bytes(needs_all ? q : peer.out_q, std::ssize(peer.out_rows) * width)});
    receives.push_back({peer.rank, message_bytes(peer.in_q, std::ssize(peer.in_rows) * width)});
  }
  if (group.is_prompt()) {
    group.exchange(compute, std::move(sends), std::move(receives));
    return {};
  }
  transfer().wait(compute.record());
  group.exchange(transfer(), std::move(sends), std::move(receives));
  return transfer().record();
}

void ShippedDecode::merge(Stream& compute, const DecodeBatch& batch, const std::vector<Peer>& peers,
                          float* out) {
  const HeadShape& shape = kernels_.shape();
  const std::vector<int>& mine = peers.front().in_rows;
  const Partial locals = partial_at(peers.front().out_partials, std::ssize(mine), shape);
  for (std::int64_t i = 0; i < std::ssize(mine); ++i) {
    if (is_held_alone(batch, mine[i])) continue;
    const Partial local = partial_row(locals, i, shape);
    std::vector<Partial> partials;
    for (int owner : batch.rows[mine[i]].owners) {
      if (owner == batch.rank) {
        partials.push_back(local);
        continue;
      }
      const auto peer = std::ranges::find(peers, owner, &Peer::rank);
      const auto at = std::ranges::find(peer->out_rows, mine[i]) - peer->out_rows.begin();
      partials.push_back(
          partial_row(partial_at(peer->in_partials, std::ssize(peer->out_rows), shape), at, shape));
    }
    // The merged lse has no reader; the local one, read by then, makes room for it.
    kernels_.merge(compute, std::move(partials), {out + i * query_values(shape), local.lse}, 1);
  }
}

void ShippedDecode::run(Stream& compute, const Group& group, const DecodeBatch& batch,
                        const KvPages& pages, const float* q, float* out) {
  const HeadShape& shape = kernels_.shape();
  const std::int64_t width = query_values(shape);
  const std::vector<Peer> peers = lay_out(batch);
  const bool alone = peers.size() == 1;
  const Event arrived = alone ? Event() : announce(compute, group, batch, peers, q);

  const Peer& self = peers.front();
  const Partial locals = partial_at(self.out_partials, std::ssize(self.in_rows), shape);
  std::vector<DecodeRow> own;
  for (std::int64_t i = 0; i < std::ssize(self.in_rows); ++i) {
    Partial to = partial_row(locals, i, shape);
    if (is_held_alone(batch, self.in_rows[i])) to.o = out + i * width;
    own.push_back(local_row(batch, self.in_rows[i], pages, q + i * width, to));
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
      const Partial partials = partial_at(peer.out_partials, in, shape);
      for (std::int64_t i = 0; i < in; ++i) {
        served.push_back(local_row(batch, peer.in_rows[i], pages, peer.in_q + i * width,
                                   partial_row(partials, i, shape)));
      }
      const std::int64_t values = partial_values(shape);
      sends.push_back({peer.rank, message_bytes(peer.out_partials, in * values)});
      receives.push_back({peer.rank, message_bytes(peer.in_partials, back * values)});
    }
    if (!served.empty()) kernels_.decode(compute, std::move(served));
    group.exchange(compute, std::move(sends), std::move(receives));  // nothing else is to be done
  }
  merge(compute, batch, peers, out);
}

}  // namespace longspan
