// FlashAttention-3's shape (arXiv 2407.08608) over segments of keys in pages: a block is two
// producer warps, which copy tiles into shared memory, and two warpgroups, each of which computes
// 64 rows of a tile of 128.
//
//   producers    Q K0 | K1 | ... | Kn | Q' K0' ...        stages, reused in a ring
//                V0 | V1 | ...
//   warpgroup    S0 = Q K0 ; softmax ; { S = Q K  ||  O += P V before ; softmax ; P } ... ; O += P
//   V
//
// Both warpgroups walk over all blocks of the tile, those too that none of their rows sees, so that
// turns and stages stay in step; such a block adds exact zeros.
//
// A row's bits depend on its own columns only: blocks begin at column 0 of each segment, and sums
// have one order. Between segments each row's sum l is gathered in one lane, as it is when it is
// stored: so carrying the state from launch to launch changes nothing.
//
// m is kept as the state holds it, scaled, in natural-log units; weights are 2^(s scale log2(e) -
// m log2(e)).
#include <cmath>

#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/mbarrier.cuh"
#include "attention/cuda/prefill_sm90.h"
#include "attention/cuda/softmax.cuh"
#include "attention/cuda/tma.cuh"
#include "attention/cuda/warp.cuh"
#include "attention/cuda/wgmma.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr int kWarpgroup = 128;
constexpr int kThreads = 3 * kWarpgroup;
constexpr int kConsumerWarps = 2 * kWarpgroup / kWarp;
constexpr int kGroupRows = 64;  // of a warpgroup
constexpr int kScores = kGroupRows * kBlockColumns / kWarpgroup;
constexpr int kHalf = kScores / 2;
constexpr int kQueryStages = 2;
/// What a multiprocessor's 64K registers give each thread when roles share them out.
constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;

constexpr int stages(int head_dim) { return head_dim == 64 ? 4 : 2; }

/// What the consumers need to know of a tile. head < 0: there are no more.
struct TileNote {
  QueryTile rows;
  int head;
};

template <int kHeadDim>
struct Shared {
  static constexpr int kStages = stages(kHeadDim);
  static constexpr int kTileBytes = matrix_tile_bytes(kBlockColumns, kHeadDim);
  static_assert(kTileRows == kBlockColumns && kTileBytes % kSwizzleBytes == 0);

  std::byte q[kQueryStages][kTileBytes];  // (kTileRows, kHeadDim)
  std::byte k[kStages][kTileBytes];       // (kBlockColumns, kHeadDim)
  std::byte v[kStages][kTileBytes];
  Mbarrier q_full[kQueryStages], q_empty[kQueryStages];
  Mbarrier k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages];
  Mbarrier tail;  // a block of V that the producer still has to clear
  TileNote notes[kQueryStages];
};

template <int kHeadDim>
__device__ Shared<kHeadDim>& find_shared() {
  extern __shared__ __align__(kSwizzleBytes) std::byte memory[];
  return *reinterpret_cast<Shared<kHeadDim>*>(memory);
}

template <int kHeadDim>
__device__ void init_barriers(Shared<kHeadDim>& shared) {
  for (int i = 0; i < kQueryStages; ++i) {
    shared.q_full[i].init(1);
    shared.q_empty[i].init(kConsumerWarps + 1);  // and the producer of values
  }
  for (int i = 0; i < Shared<kHeadDim>::kStages; ++i) {
    shared.k_full[i].init(1);
    shared.v_full[i].init(1);
    shared.k_empty[i].init(kConsumerWarps);
    shared.v_empty[i].init(kConsumerWarps);
  }
  shared.tail.init(1);
  fence_mbarrier_init();
}

/// One lane of a whole warp. The assembler knows that code behind it is one lane's, and copies then
/// need no search for lanes with equal operands, as behind a comparison with the lane's number.
__device__ bool is_elected() {
  std::uint32_t elected;
  asm volatile(
      "{\n.reg .pred one;\n"
      "elect.sync _|one, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, one;\n}\n"
      : "=r"(elected));
  return elected != 0;
}

// ---- Producers: a warp copies queries and keys, another one values. Each is elected a lane that
// copies. They share their multiprocessor's quarters with consumers, who all wait for the slowest:
// so they are two, and what can be known before a stage is free is known by then.

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
__device__ void wait_together(const Mbarrier& barrier, std::uint32_t parity) {
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

__device__ int kv_head_of(const PrefillSm90& work, int head) {
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

// ---- A consumer: a warpgroup.

/// A value that is the same in all lanes, so that the compiler knows it to be: what depends on it,
/// operands of the matrix unit above all, then lives in uniform registers.
__device__ int same_in_warp(int value) { return __shfl_sync(0xffffffffu, value, 0); }
/// A value that the compiler keeps instead of computing it anew.
__device__ std::uint32_t kept(std::uint32_t value) {
  asm volatile("" : "+r"(value));
  return value;
}
/// The same of a descriptor, whose upper half is a constant.
__device__ std::uint64_t uniform(std::uint64_t descriptor) {
  const auto lower = static_cast<std::uint32_t>(same_in_warp(static_cast<int>(descriptor)));
  return descriptor >> 32 << 32 | lower;
}

/// Descriptors of this group's rows of Q, of a block's keys, and of the values whose weights are
/// known by then.
struct Operands {
  std::uint64_t q, k, v;
  bool k_is_there, v_is_there;  // already
};

constexpr int kTurnOfFirst = 1, kTurnOfSecond = 2;  // named barriers

/// x scale + shift, and sum += x, where they stand: the assembler leaves them between exponentials.
__device__ float scaled(float x, float scale, float shift) {
  asm volatile("fma.rn.f32 %0, %0, %1, %2;" : "+f"(x) : "f"(scale), "f"(shift));
  return x;
}
__device__ void add(float& sum, float x) {
  asm volatile("add.f32 %0, %0, %1;" : "+f"(sum) : "f"(x));
}

/// Exponentials from one to the sum that takes it in.
constexpr int kLag = 8;
/// Scores whose maxima are taken before the first exponential.
constexpr int kFirst = kScores / 4;
/// By how much, in natural-log units, a score may exceed m before m is raised. O and l are
/// multiplied only when m rises, which it then seldom does after a tile's first block (as
/// FlashAttention-4 rescales).
constexpr float kSlack = 8 / kLog2e;

/// Of a thread's scores of its two rows, two chains of each: one would be waited for at every step.
class Maxima {
 public:
  __device__ void take(int i, float score) {
    asm volatile("max.f32 %0, %0, %1;" : "+f"(top_[i / 2 % 2][i % 2]) : "f"(score));
  }
  __device__ float of_thread(int row) const { return fmaxf(top_[row][0], top_[row][1]); }
  /// Of the four lanes that share the row.
  __device__ float of_row(int row) const { return lanes_max<4>(of_thread(row)); }

 private:
  float top_[2][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}};
};

/// `first` in the lower half.
__device__ std::uint32_t pack(float first, float second) {
  std::uint32_t pair;
  asm volatile("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

template <int kHeadDim, bool kTurns, bool kOverlap>
class Consumer {
 public:
  __device__ Consumer(const PrefillSm90& work, Shared<kHeadDim>& shared, int group)
      : work_(work),
        shared_(shared),
        here_(kept(shared_address(&shared))),
        group_(group),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        row_(group * kGroupRows +
             accumulator_row(static_cast<int>(threadIdx.x) / kWarp % 4, lane_, 0)) {}

  __device__ void run() {
    if (kTurns && group_ == 1) named_arrive<kTurnOfFirst>();
    TileNote done{{}, -1};
    for (;;) {
      barrier(shared_.q_full[q_.stage]).wait(q_.parity);
      const TileNote note = shared_.notes[q_.stage];
      if (note.head < 0) break;
      if (kOverlap) {  // the tile before is stored beside the first product
        const Operands block = operands(k_, v_);
        await_keys(block);
        begin_scores(block);
      }
      if (done.head >= 0) store_state(done);
      load_state(note);
      BlockWalk walk = walk_over(note.rows, work_.segments);
      if constexpr (kOverlap) {
        fold_overlapped(walk, note.rows.in_run);
      } else {
        fold_in_order(walk, note.rows.in_run);
      }
      finish_state();
      done = note;
    }
    if (done.head >= 0) store_state(done);
  }

 private:
  using Memory = Shared<kHeadDim>;
  using Stage = RingPlace<Memory::kStages>;
  static constexpr int kOutputs = kGroupRows * kHeadDim / kWarpgroup;

  // Both walks do the same arithmetic in the same order.

  __device__ void fold_in_order(BlockWalk& walk, int in_run) {
    while (walk.next()) {
      const Operands block = operands(k_, v_);
      await_keys(block);
      take_turn();
      begin_scores(block);
      wgmma_wait<0>();
      pin(s_);
      pass_turn();
      release(shared_.k_empty[k_.stage]);
      k_.advance();
      mask(walk, in_run);
      soften([] {});
      add_values(block);
      end_values();
    }
    release(shared_.q_empty[q_.stage]);
    q_.advance();
  }

  __device__ void fold_overlapped(BlockWalk& walk, int in_run) {
    walk.next();  // every tile has a block; peeled, since a flag would serialise the products
    wgmma_wait<0>();
    pin(s_);
    release(shared_.k_empty[k_.stage]);
    k_.advance();
    Operands block = operands(k_, v_);
    mask(walk, in_run);
    soften([] {});
    for (;;) {
      // The loop that takes the time has nothing of what few blocks need.
      for (int plain = walk.skip_inside(seen_); plain > 0; --plain) fold_next(block, [] {});
      if (!walk.next()) break;
      fold_next(block, [&] { mask(walk, in_run); });
    }
    release(shared_.q_empty[q_.stage]);
    q_.advance();
    add_values(block);
    end_values();
  }

  /// The scores of a block beside the values of the one before. `block` becomes the next one.
  template <typename Mask>
  __device__ __forceinline__ void fold_next(Operands& block, const Mask& mask_scores) {
    await_keys(block);
    take_turn();
    begin_scores(block);
    add_values(block);
    pass_turn();
    Stage k = k_, v = v_;
    k.advance();
    v.advance();
    block = operands(k, v);  // while the products run: before the next ones all would wait for it
    wgmma_wait<1>();
    pin(s_);
    release(shared_.k_empty[k_.stage]);
    k_.advance();
    mask_scores();
    soften([&] { end_values(); });
  }

  __device__ Operands operands(const Stage& k, const Stage& v) const {
    const std::uint32_t rows = group_ * slab_bytes(kGroupRows);
    return {uniform(row_operand(address(shared_.q[q_.stage]) + rows)),
            uniform(row_operand(address(shared_.k[k.stage]))),
            uniform(column_operand(address(shared_.v[v.stage]), kBlockColumns)),
            barrier(shared_.k_full[k.stage]).is_over(k.parity),
            barrier(shared_.v_full[v.stage]).is_over(v.parity)};
  }

  /// Of shared memory: what the compiler would ask the hardware for again and again.
  template <typename T>
  __device__ std::uint32_t address(const T& member) const {
    return here_ + static_cast<std::uint32_t>(reinterpret_cast<const std::byte*>(&member) -
                                              reinterpret_cast<const std::byte*>(&shared_));
  }
  __device__ MbarrierAt barrier(const Mbarrier& member) const { return {address(member)}; }

  __device__ void await_keys(const Operands& block) {
    if (!block.k_is_there) barrier(shared_.k_full[k_.stage]).wait(k_.parity);
  }

  __device__ void begin_scores(const Operands& block) {
    pin(s_);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kHeadDim / kMatrixDepth; ++step) {
      wgmma_rows(s_, advanced(block.q, row_operand_step(kTileRows, step)),
                 advanced(block.k, row_operand_step(kBlockColumns, step)), step > 0);
    }
    wgmma_commit();
  }

  __device__ void add_values(const Operands& block) {
    if (!block.v_is_there) barrier(shared_.v_full[v_.stage]).wait(v_.parity);
    pin(o_);
    pin(p_);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kBlockColumns / kMatrixDepth; ++step) {
      wgmma_columns(o_, p_ + 4 * step, advanced(block.v, column_operand_step(step)));
    }
    wgmma_commit();
  }

  __device__ void end_values() {
    wgmma_wait<0>();
    pin(o_);
    pin(p_);
    release(shared_.v_empty[v_.stage]);
    v_.advance();
  }

  /// A warp's own products are done; others of its warpgroup may still read.
  __device__ void release(const Mbarrier& empty) {
    if (lane_ == 0) barrier(empty).arrive();
  }

  __device__ void take_turn() {
    if constexpr (kTurns) {
      if (group_ == 0) {
        named_sync<kTurnOfFirst>();
      } else {
        named_sync<kTurnOfSecond>();
      }
    }
  }
  __device__ void pass_turn() {
    if constexpr (kTurns) {
      if (group_ == 0) {
        named_arrive<kTurnOfSecond>();
      } else {
        named_arrive<kTurnOfFirst>();
      }
    }
  }

  /// Scores become weights; m and l take them in. The maxima of most columns are taken between the
  /// exponentials of the first, and weights are packed between the last, when nothing reads those
  /// of the block before any more: middle() waits for that.
  template <typename Middle>
  __device__ __forceinline__ void soften(const Middle& middle) {
    const float scale = work_.scale * kLog2e;
    float factor[2] = {1.0f, 1.0f};  // of what was summed up before
    Maxima top;
#pragma unroll
    for (int i = 0; i < kFirst; ++i) top.take(i, s_[i]);
    bool raised = rises(top);
    if (raised) raise(top, factor);
    float sum[2][2] = {};
    Maxima rest;
#pragma unroll
    for (int i = 0; i < kFirst; ++i) {
      s_[i] = exp2_fast(scaled(s_[i], scale, shift_[i / 2 % 2]));
#pragma unroll
      for (int k = 0; k < kScores / kFirst - 1; ++k) {
        rest.take(kFirst + i * (kScores / kFirst - 1) + k,
                  s_[kFirst + i * (kScores / kFirst - 1) + k]);
      }
      if (i >= kLag) add(sum[i / 2 % 2][i % 2], s_[i - kLag]);
    }
    if (rises(rest)) {
      float later[2] = {1.0f, 1.0f};
      raise(rest, later);
      lower_first(later, sum);
#pragma unroll
      for (int row = 0; row < 2; ++row) factor[row] *= later[row];
      raised = true;
    }
#pragma unroll
    for (int i = kFirst; i < kHalf; ++i) {
      s_[i] = exp2_fast(scaled(s_[i], scale, shift_[i / 2 % 2]));
      add(sum[i / 2 % 2][i % 2], s_[i - kLag]);
    }
    middle();
#pragma unroll
    for (int i = kHalf; i < kScores + kLag; ++i) {
      if (i < kScores) s_[i] = exp2_fast(scaled(s_[i], scale, shift_[i / 2 % 2]));
      add(sum[i / 2 % 2][i % 2], s_[i - kLag]);
      if (i % 2 == 0) continue;
      const int before = i - kHalf;
      if (before < kHalf) p_[before / 2] = pack(s_[before - 1], s_[before]);
      if (i - kLag >= kHalf) p_[(i - kLag) / 2] = pack(s_[i - kLag - 1], s_[i - kLag]);
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      l_[row] = fmaf(l_[row], factor[row], sum[row][0] + sum[row][1]);
    }
    if (raised) scale_outputs(factor);
  }

  /// Whether one of the warp's rows has to raise its m.
  __device__ bool rises(const Maxima& top) const {
    return __any_sync(0xffffffffu, is_above(top.of_thread(0), 0) || is_above(top.of_thread(1), 1));
  }

  /// Weights, and their sums, from before m was raised.
  __device__ void lower_first(const float (&factor)[2], float (&sum)[2][2]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i / 2][i % 2] *= factor[i / 2];
#pragma unroll
    for (int i = 0; i < kFirst; ++i) s_[i] *= factor[i / 2 % 2];
  }

  /// m of those rows of the warp that have to: what depends on a row is decided by its own columns.
  /// factor[row] is what its sums are multiplied by.
  __device__ void raise(const Maxima& top, float (&factor)[2]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float score = top.of_row(row);
      if (is_above(score, row)) {
        const float m = score * work_.scale;
        factor[row] = exp2_fast((m_[row] - m) * kLog2e);
        set_m(row, m);
      }
    }
  }

  /// And what follows from it.
  __device__ void set_m(int row, float m) {
    m_[row] = m;
    shift_[row] = -base_of(m) * kLog2e;
  }
  /// Whether m has to rise.
  __device__ bool is_above(float score, int row) const {
    return score * work_.scale > m_[row] + kSlack;
  }

  /// Columns of the walk's block that a row does not see do not count for it.
  __device__ void mask(const BlockWalk& walk, int in_run) {
    if (walk.begins_segment()) {
      const int first = in_run + group_ * kGroupRows;
      seen_ = SeenByAll(walk.segment(), first, first + kGroupRows - 1);
      gather_sums();
    }
    if (!seen_.holds(walk.block())) {
      mask(walk.segment(), walk.block() * kBlockColumns, in_run);
    }
  }

  __device__ void mask(const TileSegment& segment, int column, int in_run) {
    const int here = column + accumulator_column(lane_, 0);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = in_run + row_ + 8 * half;
      const int begin = segment.begin.of(row) - here, end = segment.end.of(row) - here;
#pragma unroll
      for (int i = 0; i < kScores; i += 4) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int at = 8 * (i / 4) + n;
          float& score = s_[i + 2 * half + n];
          score = at >= begin && at < end ? score : -INFINITY;
        }
      }
    }
  }

  __device__ void scale_outputs(const float (&factor)[2]) {
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) o_[i] *= factor[i / 2 % 2];
  }

  /// Each row's sum in the first of the four lanes that share the row.
  __device__ void gather_sums() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = lanes_sum<4>(l_[half]);
      l_[half] = lane_ % 4 == 0 ? sum : 0.0f;
    }
  }

  __device__ std::int64_t row_head(const TileNote& note, int half) const {
    return (note.rows.row + row_ + 8 * half) * work_.shape.query_heads + note.head;
  }

  __device__ void load_state(const TileNote& note) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t at = row_head(note, half);
      const bool exists = !work_.is_whole && row_ + 8 * half < note.rows.rows;
      set_m(half, exists ? work_.state.m[at] : -INFINITY);
      l_[half] = exists && lane_ % 4 == 0 ? work_.state.l[at] : 0.0f;
      const bool is_fresh = m_[half] == -INFINITY;  // then acc is 0, and need not be read
      const float* const acc = work_.state.acc + at * kHeadDim + accumulator_column(lane_, 0);
#pragma unroll
      for (int i = 0; i < kOutputs; i += 4) {
        o_[i + 2 * half] = is_fresh ? 0.0f : acc[2 * i];
        o_[i + 2 * half + 1] = is_fresh ? 0.0f : acc[2 * i + 1];
      }
    }
  }

  /// What is stored: the sums, or, where they are whole, O in their place and lse in that of m, as
  /// AttentionKernels::finish() has them.
  __device__ void finish_state() {
    gather_sums();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float factor = 1.0f;
      if (work_.is_whole) {
        const float l = lanes_sum<4>(l_[half]);
        factor = l == 0.0f ? 0.0f : 1.0f / l;
        m_[half] = l == 0.0f ? -INFINITY : m_[half] + logf(l);
      }
#pragma unroll
      for (int i = 0; i < kOutputs; i += 4) {
        o_[i + 2 * half] *= factor;
        o_[i + 2 * half + 1] *= factor;
      }
    }
  }

  __device__ void store_state(const TileNote& note) {
    // Callers may cut their memory at any float.
    const bool in_pairs = reinterpret_cast<std::uintptr_t>(work_.state.acc) % sizeof(float2) == 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (row_ + 8 * half >= note.rows.rows) continue;
      const std::int64_t at = row_head(note, half);
      float* const acc = work_.state.acc + at * kHeadDim + accumulator_column(lane_, 0);
#pragma unroll
      for (int i = 0; i < kOutputs; i += 4) {
        const float first = o_[i + 2 * half], second = o_[i + 2 * half + 1];
        if (in_pairs) {
          *reinterpret_cast<float2*>(acc + 2 * i) = {first, second};
        } else {
          acc[2 * i] = first;
          acc[2 * i + 1] = second;
        }
      }
      if (lane_ % 4 == 0) {
        work_.state.m[at] = m_[half];
        if (!work_.is_whole) work_.state.l[at] = l_[half];
      }
    }
  }

  const PrefillSm90& work_;
  Memory& shared_;
  std::uint32_t here_;  // its address
  int group_;
  int lane_;
  int row_;  // of the tile: the first of this thread's two, the other is 8 further on
  RingPlace<kQueryStages> q_;
  Stage k_, v_;
  SeenByAll seen_;  // by all rows of this group, of the segment that is folded in
  float m_[2], l_[2];
  float shift_[2];    // what it adds to exponents
  float s_[kScores];  // scores, then weights
  std::uint32_t p_[kScores / 2];
  float o_[kOutputs];
};

template <int kHeadDim, bool kTurns, bool kOverlap, bool kFetches>
__global__ void __launch_bounds__(kThreads, 1)
    prefill_kernel(const __grid_constant__ PrefillSm90 work) {
  Shared<kHeadDim>& shared = find_shared<kHeadDim>();
  if (threadIdx.x == 0) init_barriers(shared);
  __syncthreads();
  const int group = same_in_warp(static_cast<int>(threadIdx.x) / kWarpgroup);
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kProducerRegisters));
    const int warp = same_in_warp(static_cast<int>(threadIdx.x) / kWarp);
    // On the quarters where a warpgroup's first warp, which waits longest for matrix units, is not.
    if (warp == 2) KeyProducer<kHeadDim>(work, shared).template run<kFetches>();
    if (warp == 3) ValueProducer<kHeadDim>(work, shared).run();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kConsumerRegisters));
    Consumer<kHeadDim, kTurns, kOverlap>(work, shared, group - 1).run();
  }
}

using Kernel = void (*)(PrefillSm90);

template <int kHeadDim>
Kernel kernel_of(Sm90Rung rung) {
  switch (rung) {
    case Sm90Rung::kInOrder:
      return prefill_kernel<kHeadDim, false, false, false>;
    case Sm90Rung::kTurns:
      return prefill_kernel<kHeadDim, true, false, false>;
    case Sm90Rung::kOverlap:
      return prefill_kernel<kHeadDim, true, true, false>;
    case Sm90Rung::kFetching:
      return prefill_kernel<kHeadDim, true, true, true>;
  }
  return nullptr;
}

Kernel kernel_for(int head_dim, Sm90Rung rung) {
  return head_dim == 64 ? kernel_of<64>(rung) : kernel_of<128>(rung);
}
std::size_t shared_bytes_for(int head_dim) {
  return head_dim == 64 ? sizeof(Shared<64>) : sizeof(Shared<128>);
}

}  // namespace

bool device_runs_sm90() {
  int device = 0, major = 0, minor = 0;
  cuda_check(cudaGetDevice(&device), "the current GPU");
  cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "a GPU");
  cuda_check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "a GPU");
  return major == 9 && minor == 0;
}

void prepare_prefill_sm90(int head_dim) {
  for (const Sm90Rung rung :
       {Sm90Rung::kInOrder, Sm90Rung::kTurns, Sm90Rung::kOverlap, Sm90Rung::kFetching}) {
    cuda_check(cudaFuncSetAttribute(kernel_for(head_dim, rung),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes_for(head_dim))),
               "the prefill kernel needs more shared memory than this GPU has");
  }
}

void launch_prefill_sm90(const PrefillSm90& work, Sm90Rung rung, int blocks, cudaStream_t stream) {
  const int head_dim = work.shape.head_dim;
  expects(head_dim_runs_tiles(head_dim), "the prefill kernel knows head_dim 64 and 128");
  if (work.order.count() == 0) return;
  const int grid = std::min(blocks, work.order.count());
  kernel_for(head_dim, rung)<<<grid, kThreads, shared_bytes_for(head_dim), stream>>>(work);
  cuda_check(cudaGetLastError(), "attending on matrix units");
}

}  // namespace longspan
