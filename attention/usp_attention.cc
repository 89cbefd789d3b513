#include "attention/usp_attention.h"

#include <algorithm>
#include <array>
#include <utility>

#include "attention/ring_attention.h"
#include "attention/scratch.h"
#include "comm/error.h"

namespace longspan {
namespace {

/// The chunk as the ring sees it: one stream per island, cached columns of all its ranks first,
/// then their rows. Nothing is kept: the heads are incomplete.
SplitChunk island_chunk(const SplitChunk& chunk, int island) {
  SplitChunk out{.rank = chunk.rank / island, .mask = chunk.mask};
  for (int first = 0; first < chunk.size(); first += island) {
    StreamShape whole;
    for (int j = first; j < first + island; ++j) {
      const StreamShape& part = chunk.streams[j];
      whole.cached += part.cached;
      whole.pieces.insert(whole.pieces.end(), part.pieces.begin(), part.pieces.end());
      whole.rows += part.rows;
      whole.runs.insert(whole.runs.end(), part.runs.begin(), part.runs.end());
    }
    out.streams.push_back(std::move(whole));
    out.keep.emplace_back();
  }
  out.positions = out.own().positions();
  return out;
}

}  // namespace

/// One run over one chunk.
class UspAttention::Pass {
 public:
  Pass(UspAttention& usp, Stream& compute, const Group& group, const SplitChunk& chunk,
       const KvPages& pages);

  void gather_heads(const float* q);
  void attend();
  void give_back(RunningState state);

 private:
  /// What this rank and one member of its island give each other: heads on the way in, the same in
  /// reverse on the way out.
  struct Trade {
    const HeadSlice* slice;     // what the member attends
    int member;                 // group index
    const StreamShape* stream;  // the member's
    std::int64_t row0;          // of its rows in the island
    std::size_t piece0;         // of its cached columns among the island's
    float* out = nullptr;       // own rows' Q of its heads, then own stream of them
    float* in = nullptr;        // its rows' Q of this rank's heads, then its stream of them
    float* result = nullptr;    // O of its heads for own rows
  };
  void lay_out();
  bool is_self(const Trade& trade) const { return trade.member == chunk_.rank; }
  std::int64_t own_rows() const { return chunk_.own().rows; }
  std::int64_t out_values(const Trade& trade) const {
    return own_rows() * width_ + streams_of(trade.member).values(chunk_.rank);
  }
  std::int64_t in_values(const Trade& trade) const {
    return trade.stream->rows * width_ + streams_of(chunk_.rank).values(trade.member);
  }
  void pack(const Trade& trade, const float* q);
  void unpack(const Trade& trade);
  AttentionKernels& kernels_of(int member) const {
    return *usp_.kernels_of_[member % usp_.island_];
  }
  /// The streams of the heads that a member attends, as they travel: cached columns are as they are
  /// at rest.
  KvStreams streams_of(int member) const {
    return {kernels_of(member), chunk_, pages_, Cached::kTravel};
  }
  std::vector<KvPart> own_parts(const HeadSlice& slice) const;
  std::vector<KvPart> island_parts(const Trade& trade) const;
  void copy(AttentionKernels& kernels, const std::vector<KvPart>& from,
            const std::vector<KvPart>& to);
  void copy_heads(float* to, std::int64_t to_width, const float* from, std::int64_t from_width);

  UspAttention& usp_;
  Stream& compute_;
  const Group& group_;
  const SplitChunk& chunk_;
  KvPages pages_;
  int place_;
  const HeadSlice& slice_;  // what this rank attends
  AttentionKernels& kernels_;
  SplitChunk ring_chunk_;
  KvStreams ring_streams_;
  std::int64_t width_;  // of a row's queries in a slice

  float* island_q_ = nullptr;  // (island rows, slice heads, head_dim)
  float* island_stream_ = nullptr;
  RunningState running_;
  std::array<float*, 2> landing_{};
  std::vector<Trade> trades_;  // by place
};

UspAttention::Pass::Pass(UspAttention& usp, Stream& compute, const Group& group,
                         const SplitChunk& chunk, const KvPages& pages)
    : usp_(usp),
      compute_(compute),
      group_(group),
      chunk_(chunk),
      pages_(pages),
      place_(chunk.rank % usp.island_),
      slice_(usp.slices_[place_]),
      kernels_(*usp.kernels_of_[place_]),
      ring_chunk_(island_chunk(chunk, usp.island_)),
      ring_streams_(kernels_, ring_chunk_, {{.type = kernels_.new_columns(pages.rest.type)}},
                    Cached::kTravel),
      width_(query_values(slice_.shape)) {
  ring_chunk_.choice = chunk.choice.from_head(slice_.first_kv);
  lay_out();
}

void UspAttention::Pass::lay_out() {
  const StreamShape& island = ring_chunk_.own();
  Scratch scratch(usp_.memory_.scratch);
  island_q_ = scratch.take(island.rows * width_);
  island_stream_ = scratch.take(ring_streams_.values(ring_chunk_.rank));
  running_ = {scratch.take(island.rows * width_),
              scratch.take(island.rows * slice_.shape.query_heads),
              scratch.take(island.rows * slice_.shape.query_heads)};
  if (ring_chunk_.size() > 1) {
    for (float*& area : landing_) area = scratch.take(ring_streams_.most_values());
  }
  std::int64_t rows = 0;
  std::size_t pieces = 0;
  for (int place = 0; place < usp_.island_; ++place) {
    const int member = chunk_.rank - place_ + place;
    Trade trade{.slice = &usp_.slices_[place],
                .member = member,
                .stream = &chunk_.streams[member],
                .row0 = rows,
                .piece0 = pieces};
    rows += trade.stream->rows;
    pieces += trade.stream->pieces.size();
    if (!is_self(trade)) {
      trade.out = scratch.take(out_values(trade));
      trade.in = scratch.take(in_values(trade));
      trade.result = scratch.take(own_rows() * width_);
    }
    trades_.push_back(trade);
  }
}

void UspAttention::Pass::gather_heads(const float* q) {
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const Trade& trade : trades_) {
    pack(trade, q);
    if (is_self(trade)) continue;
    sends.push_back({trade.member, message_bytes(trade.out, out_values(trade))});
    receives.push_back({trade.member, message_bytes(trade.in, in_values(trade))});
  }
  usp_.transfer().wait(compute_.record());
  group_.exchange(usp_.transfer(), std::move(sends), std::move(receives));
  usp_.streams(chunk_, pages_).keep(compute_, chunk_.rank, usp_.own());
  compute_.wait(usp_.transfer().record());
  for (const Trade& trade : trades_) {
    if (!is_self(trade)) unpack(trade);
  }
}

/// Own rows' queries, and own keys and values, of the heads that a member attends: into the message
/// to it, or straight to their place when the member is this rank.
void UspAttention::Pass::pack(const Trade& trade, const float* q) {
  const HeadSlice& slice = *trade.slice;
  float* q_to = is_self(trade) ? island_q_ + trade.row0 * width_ : trade.out;
  copy_heads(q_to, width_, q + slice.first_query * slice.shape.head_dim,
             query_values(usp_.kernels_.shape()));
  copy(kernels_of(trade.member), own_parts(slice),
       is_self(trade)
           ? island_parts(trade)
           : streams_of(trade.member).parts(chunk_.rank, trade.out + own_rows() * width_));
}

void UspAttention::Pass::unpack(const Trade& trade) {
  const std::int64_t queries = trade.stream->rows * width_;
  usp_.device_.copy(compute_, message_bytes(island_q_ + trade.row0 * width_, queries),
                    message_bytes(trade.in, queries));
  copy(kernels_, streams_of(chunk_.rank).parts(trade.member, trade.in + queries),
       island_parts(trade));
}

/// A slice's heads of this rank's columns, cached ones first.
std::vector<KvPart> UspAttention::Pass::own_parts(const HeadSlice& slice) const {
  const StreamShape& own = chunk_.own();
  std::vector<KvPart> parts;
  for (const CachedPiece& piece : own.pieces) {
    const std::vector<KvPart> more =
        pages_.parts({chunk_.slots, chunk_.tail}, piece.columns(), own.held, slice.shape.head_dim);
    parts.insert(parts.end(), more.begin(), more.end());
  }
  parts.push_back({usp_.own_stream(chunk_), own.rows});
  for (KvPart& part : parts) part.view = part.view.heads_from(slice.first_kv);
  return parts;
}

/// Where a member's columns lie in the island's stream, all as new ones are: a part a piece.
std::vector<KvPart> UspAttention::Pass::island_parts(const Trade& trade) const {
  std::vector<KvPart> parts;
  const auto pieces = ring_streams_.cached(ring_chunk_.rank, island_stream_);
  for (std::size_t i = 0; i < trade.stream->pieces.size(); ++i) {
    parts.push_back(pieces[trade.piece0 + i].front());
  }
  const KvView rows = ring_streams_.rows(ring_chunk_.rank, island_stream_);
  parts.push_back({rows.from(trade.row0, slice_.shape.head_dim), trade.stream->rows});
  return parts;
}

void UspAttention::Pass::copy(AttentionKernels& kernels, const std::vector<KvPart>& from,
                              const std::vector<KvPart>& to) {
  std::vector<KvCopy> copies = copies_between(from, to);
  if (!copies.empty()) kernels.copy_kv(compute_, std::move(copies));
}

/// A slice's heads of own rows, between rows of `to_width` and `from_width` values.
void UspAttention::Pass::copy_heads(float* to, std::int64_t to_width, const float* from,
                                    std::int64_t from_width) {
  usp_.device_.copy_rows(compute_, reinterpret_cast<std::byte*>(to), sizeof(float) * to_width,
                         reinterpret_cast<const std::byte*>(from), sizeof(float) * from_width,
                         sizeof(float) * width_, own_rows());
}

void UspAttention::Pass::attend() {
  std::vector<int> members;
  for (int j = place_; j < chunk_.size(); j += usp_.island_) members.push_back(j);
  const Group ring = group_.part(members);
  const RingTrip trip{ring, ring_streams_, island_stream_, landing_};
  travel_ring(compute_, usp_.transfer(), kernels_, trip,
              {.q = island_q_, .positions = ring_chunk_.positions}, running_);
}

void UspAttention::Pass::give_back(RunningState state) {
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const Trade& trade : trades_) {
    if (is_self(trade)) continue;
    sends.push_back({trade.member, message_bytes(running_.acc + trade.row0 * width_,
                                                 trade.stream->rows * width_)});
    receives.push_back({trade.member, message_bytes(trade.result, own_rows() * width_)});
  }
  usp_.transfer().wait(compute_.record());
  group_.exchange(usp_.transfer(), std::move(sends), std::move(receives));
  compute_.wait(usp_.transfer().record());
  for (const Trade& trade : trades_) {
    const float* from = is_self(trade) ? running_.acc + trade.row0 * width_ : trade.result;
    const std::int64_t first = trade.slice->first_query * trade.slice->shape.head_dim;
    copy_heads(state.acc + first, query_values(usp_.kernels_.shape()), from, width_);
  }
}

UspAttention::UspAttention(Device& device, AttentionKernels& kernels, PrefillMemory& memory,
                           int island)
    : PrefillAttention(device, kernels, memory), island_(island) {
  for (int place = 0; place < island; ++place) {
    slices_.push_back(slice_heads(kernels.shape(), place, island));
    kernels_of_.push_back(kernels.for_heads(slices_.back().shape));
  }
}

std::int64_t UspAttention::scratch_values(const HeadShape& shape, const PrefillLimits& limits,
                                          int island) {
  const int others = island - 1;
  HeadShape most = shape;  // the slice with most KV heads
  most.kv_heads = 0;
  for (int place = 0; place < island; ++place) {
    most.kv_heads = std::max(most.kv_heads, slice_heads(shape, place, island).shape.kv_heads);
  }
  const std::int64_t kv = most.kv_values();
  const std::int64_t q = query_values(shape) / island, heads = shape.query_heads / island;
  const std::int64_t rows = std::min(limits.all_rows, island * limits.rows);
  const std::int64_t columns = std::min(limits.all_columns, island * limits.columns);
  const std::int64_t trade = area_values(limits.rows * q + limits.stream_values(most));
  return others * (2 * trade + area_values(limits.rows * q)) + 2 * area_values(rows * q) +
         2 * area_values(rows * heads) +
         (limits.ranks > island ? 3 : 1) * area_values(columns * kv);
}

void UspAttention::run(Stream& compute, const Group& group, const SplitChunk& chunk,
                       const KvPages& pages, const float* q, RunningState state) {
  expects(group.size() == chunk.size() && group.rank() == chunk.rank, "the chunk is the group's");
  expects(chunk.size() % island_ == 0, "the group is made of whole islands");
  expects(chunk.keeps_its_own(), "where heads travel each rank keeps its own rows' KV");
  Pass pass(*this, compute, group, chunk, pages);
  pass.gather_heads(q);
  pass.attend();
  pass.give_back(state);
}

}  // namespace longspan
