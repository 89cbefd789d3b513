// The producers of Hopper's prefill kernel: a warp copies queries and keys, another one values. Of
// each an elected lane copies. They share their multiprocessor's quarters with consumers, who all
// wait for the slowest: so they are two, and what can be known before a stage is free is known by
// then.
#pragma once

#include <cstdint>

#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/mbarrier.cuh"
#include "attention/cuda/prefill_sm90.h"
#include "attention/cuda/prefill_sm90_stages.cuh"
#include "attention/cuda/tma.cuh"
#include "attention/cuda/warp.cuh"

namespace longspan::sm90 {

/// One lane of a whole warp. The assembler knows that code behind it is one lane's, and copies then
/// need no search for lanes with equal operands, as behind a comparison with the lane's number.
__device__ inline bool is_elected() {
  std::uint32_t elected;
  asm volatile(
      "{\n.reg .pred one;\n"
      "elect.sync _|one, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, one;\n}\n"
      : "=r"(elected));
  return elected != 0;
}

/// A block of keys or values, and what memory says of it.
class Source {
 public:
  __device__ Source(const TileSegment& segment, int block)
      : segment_(segment),
        block_(block),
        boxes_(segment.boxes(block)),
        box_bytes_(kSlabRowBytes << segment.box_shift),
        slot_(slot(0)),
        in_page_(segment.in_page(segment.box_column(block, 0))) {}

  __device__ int view() const { return segment_.view; }
  /// Columns of the block that exist.
  __device__ int columns() const {
    return min(segment_.len - block_ * kBlockColumns, kBlockColumns);
  }

  /// By all lanes. Copies the block of `kv_head` to `tile` (kBlockColumns, kHeadDim).
  template <int kHeadDim>
  __device__ void copy(const CUtensorMap& map, int kv_head, std::byte* tile, Mbarrier& full) const {
    if (!is_elected()) return;
    full.arrive_expecting(boxes_ * box_bytes_ * (kHeadDim / kSlabColumns));
    copy_slabs<kHeadDim>(map, in_page_, kv_head, slot_, shared_address(tile), full);
#pragma unroll 1
    for (int box = 1; box < boxes_; ++box) {
      copy_slabs<kHeadDim>(map, segment_.in_page(segment_.box_column(block_, box)), kv_head,
                           slot(box), shared_address(tile) + box * box_bytes_, full);
    }
  }

 private:
  __device__ int slot(int box) const {
    const int page = segment_.page(segment_.box_column(block_, box));
    return segment_.table ? segment_.table[page] : page;
  }
  template <int kHeadDim>
  __device__ static void copy_slabs(const CUtensorMap& map, int in_page, int kv_head, int slot,
                                    std::uint32_t to, Mbarrier& full) {
#pragma unroll
    for (int slab = 0; slab < kHeadDim / kSlabColumns; ++slab) {
      copy_box(&map, slab * kSlabColumns, in_page, kv_head, slot,
               to + slab * slab_bytes(kBlockColumns), full, kKeepInL2);
    }
  }

  const TileSegment& segment_;
  int block_, boxes_, box_bytes_, slot_, in_page_;
};

/// Together: a lane that fell two phases behind would take the next one for the one it waits for.
__device__ inline void wait_together(const Mbarrier& barrier, std::uint32_t parity) {
  __syncwarp();
  barrier.wait(parity);
}

/// What a producer knows to have arrived. By all lanes: whichever copies has seen it come.
class Arrived {
 public:
  __device__ explicit Arrived(const std::uint64_t* count) : count_(count) {}

  __device__ void wait_for(std::uint64_t arrival) {
    while (seen_ < arrival) {
      asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(seen_) : "l"(count_) : "memory");
      asm volatile("fence.proxy.async.global;" ::: "memory");  // copies come after what was seen
    }
  }

 private:
  const std::uint64_t* count_;
  std::uint64_t seen_ = 0;
};

__device__ inline int kv_head_of(const PrefillSm90& work, int head) {
  return (head + work.shape.lead) / work.shape.group();
}

/// Takes tiles in turn, tells the others which, and copies their queries and keys.
template <int kHeadDim>
class KeyProducer {
 public:
  __device__ KeyProducer(const PrefillSm90& work, Shared<kHeadDim>& shared)
      : work_(work),
        shared_(shared),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        arrived_(work.arrivals) {}

  template <bool kFetches>
  __device__ void run() {
    int index = static_cast<int>(blockIdx.x);
    while (index < work_.order.count()) {
      const int next = kFetches ? fetch() : index + static_cast<int>(gridDim.x);
      copy_tile(work_.order.at(index));
      index = kFetches ? __shfl_sync(0xffffffffu, next, 0) : next;
    }
    send_note({{}, -1}, 0);
  }

 private:
  using Memory = Shared<kHeadDim>;

  /// Of lane 0. Asked for before it is needed: the answer takes a microsecond.
  __device__ int fetch() {
    if (lane_ != 0) return 0;
    const auto dealt = atomicAdd(work_.next_tile, static_cast<unsigned long long>(1));
    return static_cast<int>(gridDim.x + dealt);
  }

  __device__ void copy_tile(const TileOrder::Tile& tile) {
    const QueryTile rows = work_.query_tiles[tile.query_tile];
    const int kv_head = kv_head_of(work_, tile.head);
    const int place = send_note({rows, tile.head}, Memory::kTileBytes);
    if (is_elected()) {
#pragma unroll
      for (int slab = 0; slab < kHeadDim / kSlabColumns; ++slab) {
        copy_box(&work_.q, slab * kSlabColumns, tile.head, static_cast<int>(rows.row),
                 shared_address(shared_.q[place]) + slab * slab_bytes(kTileRows),
                 shared_.q_full[place], kPassThroughL2);
      }
    }
    BlockWalk walk = walk_over(rows, work_.segments);
    while (walk.next()) {
      const Source source(walk.segment(), walk.block());
      if (walk.begins_segment()) arrived_.wait_for(walk.segment().arrival);
      wait_together(shared_.k_empty[k_.stage], k_.parity ^ 1);
      source.template copy<kHeadDim>(work_.k[source.view()], kv_head, shared_.k[k_.stage],
                                     shared_.k_full[k_.stage]);
      k_.advance();
    }
  }

  /// Where Q goes; `bytes` of it will follow.
  __device__ int send_note(const TileNote& note, std::uint32_t bytes) {
    const int stage = q_.stage;
    wait_together(shared_.q_empty[stage], q_.parity ^ 1);
    if (is_elected()) {
      shared_.notes[stage] = note;
      shared_.q_full[stage].arrive_expecting(bytes);
    }
    q_.advance();
    return stage;
  }

  const PrefillSm90& work_;
  Memory& shared_;
  int lane_;
  Arrived arrived_;
  RingPlace<kQueryStages> q_;
  RingPlace<Memory::kStages> k_;
};

/// Copies the values of the tiles that it is told, and clears what lies behind the last of them.
template <int kHeadDim>
class ValueProducer {
 public:
  __device__ ValueProducer(const PrefillSm90& work, Shared<kHeadDim>& shared)
      : work_(work),
        shared_(shared),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        arrived_(work.arrivals) {}

  __device__ void run() {
    for (;;) {
      wait_together(shared_.q_full[q_.stage], q_.parity);
      const TileNote note = shared_.notes[q_.stage];
      if (note.head < 0) return;
      __syncwarp();
      if (is_elected()) shared_.q_empty[q_.stage].arrive();
      q_.advance();
      const int kv_head = kv_head_of(work_, note.head);
      BlockWalk walk = walk_over(note.rows, work_.segments);
      while (walk.next()) {
        if (walk.begins_segment()) arrived_.wait_for(walk.segment().arrival);
        copy_block(Source(walk.segment(), walk.block()), kv_head);
      }
    }
  }

 private:
  using Memory = Shared<kHeadDim>;

  __device__ void copy_block(const Source& source, int kv_head) {
    const bool is_whole = source.columns() == kBlockColumns;
    wait_together(shared_.v_empty[v_.stage], v_.parity ^ 1);
    Mbarrier& full = shared_.v_full[v_.stage];
    std::byte* const to = shared_.v[v_.stage];
    source.template copy<kHeadDim>(work_.v[source.view()], kv_head, to,
                                   is_whole ? full : shared_.tail);
    if (!is_whole) {
      wait_together(shared_.tail, tail_parity_);
      tail_parity_ ^= 1;
      clear_rows(to, source.columns());
      fence_shared_for_async();
      __syncwarp();
      if (is_elected()) full.arrive();
    }
    v_.advance();
  }

  /// Rows of V behind the last column may hold NaN, and a weight of 0 times NaN is NaN.
  __device__ void clear_rows(std::byte* tile, int first) {
    constexpr int kPieces = kSlabRowBytes / sizeof(uint4);
#pragma unroll
    for (int slab = 0; slab < kHeadDim / kSlabColumns; ++slab) {
      auto* const pieces = reinterpret_cast<uint4*>(tile + slab * slab_bytes(kBlockColumns));
      for (int i = first * kPieces + lane_; i < kBlockColumns * kPieces; i += kWarp) {
        pieces[i] = uint4{0, 0, 0, 0};
      }
    }
  }

  const PrefillSm90& work_;
  Memory& shared_;
  int lane_;
  Arrived arrived_;
  RingPlace<kQueryStages> q_;
  RingPlace<Memory::kStages> v_;
  std::uint32_t tail_parity_ = 0;
};

}  // namespace longspan::sm90
