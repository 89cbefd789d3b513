#include "attention/cuda/cuda_prefill_calls.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "attention/cuda/cuda_copy_calls.h"
#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/prefill_mma.h"
#include "attention/cuda/prefill_sm90.h"
#include "attention/cuda/reference_attend.h"
#include "attention/cuda/round_queries.h"
#include "attention/cuda/running_state.h"
#include "attention/cuda/segment_descriptors.h"
#include "attention/cuda/tensor_map.h"
#include "attention/kv_pages.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/error.h"

namespace longspan {
namespace {

/// Of the scratch: the counter of tiles, and what aligns the queries behind it.
constexpr std::size_t kCounterBytes = 256;

/// Whether kernels that fold tiles know the shape.
bool runs_tiles(const HeadShape& shape, float scale) {
  return head_dim_runs_tiles(shape.head_dim) && scale > 0;
}

/// Of segments that kernels read; those without columns go.
std::vector<KvSegment> checked(std::vector<KvSegment> segments) {
  expects(std::ranges::all_of(segments, &KvSegment::is_well_formed),
          "segments have a length and pages");
  const bool chosen = std::ranges::any_of(
      segments, [](const KvSegment& segment) { return segment.mask.needs_choice(); });
  if (chosen) {
    throw ConfigError(
        "CUDA kernels do not read which keys were chosen: attention is exact, sinks or star here");
  }
  std::erase_if(segments, [](const KvSegment& segment) { return segment.len == 0; });
  return segments;
}

/// What a segment takes in bfloat16, if it is of float32; the next one begins aligned.
std::size_t rounded_bytes(const KvSegment& segment, const HeadShape& shape) {
  constexpr std::size_t kAlignment = 256;
  if (segment.view.type != KvType::kFloat32) return 0;
  const auto bytes =
      static_cast<std::size_t>(segment.len * shape.kv_values() * value_bytes(KvType::kBFloat16));
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::size_t rounded_bytes(const std::vector<KvSegment>& segments, const HeadShape& shape) {
  std::size_t bytes = 0;
  for (const KvSegment& segment : segments) bytes += rounded_bytes(segment, shape);
  return bytes;
}

CUtensorMap query_map(const void* q, std::int64_t rows, const HeadShape& shape) {
  return tensor_map(q, std::array<TensorDimension, 3>{{{shape.head_dim, 1, kSlabColumns},
                                                       {shape.query_heads, shape.head_dim, 1},
                                                       {rows, query_values(shape), kTileRows}}});
}

/// Of K or V.
CUtensorMap key_map(const void* values, const PlannedView& view, const HeadShape& shape) {
  return tensor_map(
      values, std::array<TensorDimension, 4>{{{shape.head_dim, 1, kSlabColumns},
                                              {view.page_columns, shape.head_dim, view.box_tokens},
                                              {shape.kv_heads, view.head_stride, 1},
                                              {view.slots, view.page_stride, 1}}});
}

PrefillMma for_mma(const PrefillTiles& tiles, const void* q,
                   const std::vector<PlannedView>& views) {
  PrefillMma work{tiles, q, {}};
  std::ranges::transform(views, work.views, [](const PlannedView& view) -> KeyMemory {
    return {view.k, view.v, view.head_stride, view.page_stride};
  });
  return work;
}

/// Memory as the copy engine sees it.
PrefillSm90 for_sm90(const PrefillTiles& tiles, const void* q, std::int64_t rows,
                     const std::vector<PlannedView>& views) {
  PrefillSm90 work{tiles, query_map(q, rows, tiles.shape), {}, {}, nullptr, nullptr, false};
  for (std::size_t i = 0; i < views.size(); ++i) {
    work.k[i] = key_map(views[i].k, views[i], tiles.shape);
    work.v[i] = key_map(views[i].v, views[i], tiles.shape);
  }
  return work;
}

}  // namespace

CudaPrefillCalls::CudaPrefillCalls(CudaCallMemory& memory, const HeadShape& shape, float scale,
                                   const KernelChoice& choice)
    : memory_(memory),
      shape_(shape),
      scale_(scale),
      choice_(choice),
      kernel_(runs_tiles(shape, scale) ? choice.prefill : PrefillKernel::kReference) {
  prepare_reference_attend(shape.head_dim);
  if (kernel_ == PrefillKernel::kSm90) prepare_prefill_sm90(shape.head_dim);
  if (kernel_ == PrefillKernel::kMma) prepare_prefill_mma(shape.head_dim);
}

bool CudaPrefillCalls::rounds_keys() const {
  return kernel_ != PrefillKernel::kReference && choice_.rounds_keys;
}

void CudaPrefillCalls::reset(RunningState state, std::int64_t rows, CudaStream& to) {
  to.launch<launch_reset>(state, rows * shape_.query_heads, shape_.head_dim);
}

void CudaPrefillCalls::finish(RunningState state, Partial out, std::int64_t rows, CudaStream& to) {
  to.launch<launch_finish>(state, out, rows * shape_.query_heads, shape_.head_dim);
}

void CudaPrefillCalls::attend(const QueryRows& rows, std::vector<KvSegment> segments,
                              RunningState state, CudaStream& to) {
  segments = checked(std::move(segments));
  if (rows.positions.empty() || segments.empty()) return;
  expect_no_recording(to, "prefill");
  if (kernel_ == PrefillKernel::kReference) {
    return attend_reference({rows, segments, {}, state}, to);
  }
  const std::size_t wide = rounds_keys() ? rounded_bytes(segments, shape_) : 0;
  if (wide == 0) return attend_tiles({rows, segments, {}, state}, to);
  SharedScratch::Turn keys(memory_.keys, wide, to);
  segments = rounded(std::move(segments), keys.values(), to);
  attend_tiles({rows, segments, {}, state}, to);
  keys.end();
}

bool CudaPrefillCalls::takes_whole(const std::vector<ArrivingSegments>& sources,
                                   bool beside_kernels) const {
  const bool fit = std::ranges::all_of(sources, [](const ArrivingSegments& source) {
    return std::ranges::all_of(source.segments, [](const KvSegment& segment) {
      return segment.len == 0 || fits_tiles(segment);
    });
  });
  // Where messages do not move beside kernels, a launch for each source leaves them time to travel.
  const bool would_stop = !beside_kernels && std::ranges::any_of(sources, [](const auto& source) {
    return source.arrived.state() != nullptr;
  });
  return kernel_ == PrefillKernel::kSm90 && fit && !would_stop;
}

void CudaPrefillCalls::attend_whole(const QueryRows& rows, std::vector<ArrivingSegments> sources,
                                    RunningState state, CudaStream& to) {
  expect_no_recording(to, "prefill");
  std::vector<KvSegment> segments;
  std::vector<std::uint64_t> arrivals;
  for (ArrivingSegments& source : sources) {
    const std::vector<KvSegment> arriving = checked(std::move(source.segments));
    segments.insert(segments.end(), arriving.begin(), arriving.end());
    arrivals.resize(segments.size(), memory_.arrivals.expect(source.arrived));
  }
  const Fold fold{rows, segments, arrivals, state};
  const std::int64_t count = std::ssize(rows.positions);
  const bool is_one_launch = segments_within(segments, kMostViews) == segments.size();
  PrefillPlan plan = is_one_launch ? plan_prefill(rows.positions, segments) : PrefillPlan();
  const bool is_whole = plan.rows() == count;  // rows that see nothing have results too
  if (!is_whole) reset(state, count, to);
  if (is_one_launch) {
    launch_tiles(fold, std::move(plan), is_whole, to);
  } else {
    attend_tiles(fold, to);
  }
  if (!is_whole) finish(state, {state.acc, state.m}, count, to);
  for (const ArrivingSegments& source : sources) to.wait(source.arrived);
}

std::vector<KvSegment> CudaPrefillCalls::rounded(std::vector<KvSegment> segments, float* memory,
                                                 CudaStream& to) {
  auto* next = reinterpret_cast<std::byte*>(memory);
  std::vector<KvCopy> copies;
  for (KvSegment& segment : segments) {
    if (segment.view.type != KvType::kFloat32) continue;
    const KvView there = pages_at(next, KvType::kBFloat16, shape_, segment.len);
    copies.push_back({segment.view, 0, there, {.count = segment.len}});
    next += rounded_bytes(segment, shape_);
    segment.view = there;
  }
  copy_columns(std::move(copies), shape_, memory_, to);
  return segments;
}

void CudaPrefillCalls::attend_tiles(Fold fold, CudaStream& to) {
  if (!std::ranges::all_of(fold.segments, fits_tiles)) return attend_reference(fold, to);
  while (!fold.segments.empty()) {
    const std::size_t count = segments_within(fold.segments, kMostViews);
    const std::size_t awaited = std::min(count, fold.arrivals.size());
    Fold part = fold;
    part.segments = fold.segments.first(count);
    part.arrivals = fold.arrivals.first(awaited);
    launch_tiles(part, plan_prefill(part.rows.positions, part.segments), false, to);
    fold.segments = fold.segments.subspan(count);
    fold.arrivals = fold.arrivals.subspan(awaited);
  }
}

void CudaPrefillCalls::attend_reference(const Fold& fold, CudaStream& to) {
  const std::int64_t rows = std::ssize(fold.rows.positions);
  Descriptors& descriptors = memory_.descriptors.take(
      Descriptors::room<std::int64_t>(rows) + segments_room(fold.segments), to);
  const ReferenceAttend work{
      .shape = shape_,
      .scale = scale_,
      .q = fold.rows.q,
      .positions = descriptors.add(fold.rows.positions),
      .rows = rows,
      .segments = add_segments({fold.segments.begin(), fold.segments.end()}, descriptors),
      .segment_count = std::ssize(fold.segments),
      .state = fold.state};
  memory_.descriptors.enqueue(descriptors, to, [&] { launch_reference_attend(work, to.native()); });
}

PrefillTiles CudaPrefillCalls::described(const Fold& fold, PrefillPlan& plan,
                                         Descriptors& descriptors) const {
  std::vector<const std::int32_t*> tables;
  for (const KvSegment& segment : fold.segments) {
    tables.push_back(with_table(segment.view, segment.len, descriptors).table);
  }
  for (std::size_t i = 0; i < plan.segments.size(); ++i) {
    plan.segments[i].table = tables[plan.sources[i]];
    if (!fold.arrivals.empty()) plan.segments[i].arrival = fold.arrivals[plan.sources[i]];
  }
  return {.shape = shape_,
          .scale = scale_,
          .order = order_tiles(plan, shape_),
          .query_tiles = descriptors.add(std::span<const QueryTile>(plan.query_tiles)),
          .segments = descriptors.add(std::span<const TileSegment>(plan.segments)),
          .state = fold.state};
}

void CudaPrefillCalls::launch_tiles(const Fold& fold, PrefillPlan plan, bool is_whole,
                                    CudaStream& to) {
  if (plan.query_tiles.empty()) return;  // no row sees a column
  const std::int64_t rows = std::ssize(fold.rows.positions), values = rows * query_values(shape_);
  SharedScratch::Turn scratch(memory_.queries,
                              kCounterBytes + values * value_bytes(KvType::kBFloat16), to);
  auto* const counter = reinterpret_cast<unsigned long long*>(scratch.values());
  auto* const q = reinterpret_cast<std::byte*>(scratch.values()) + kCounterBytes;
  Descriptors& descriptors = memory_.descriptors.take(
      Descriptors::room<QueryTile>(std::ssize(plan.query_tiles)) +
          Descriptors::room<TileSegment>(std::ssize(plan.segments)) + tables_room(fold.segments),
      to);
  const PrefillTiles tiles = described(fold, plan, descriptors);
  memory_.descriptors.enqueue(descriptors, to, [&] {
    launch_round_queries(fold.rows.q, values, q, counter, to.native());
    if (kernel_ == PrefillKernel::kMma) {
      return launch_prefill_mma(for_mma(tiles, q, plan.views), to.native());
    }
    PrefillSm90 work = for_sm90(tiles, q, rows, plan.views);
    work.next_tile = counter;
    work.arrivals = memory_.arrivals.count();
    work.is_whole = is_whole;
    launch_prefill_sm90(work, choice_.rung, memory_.multiprocessors, to.native());
  });
  scratch.end();
}

}  // namespace longspan
