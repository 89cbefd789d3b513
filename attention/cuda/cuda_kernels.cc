#include "attention/cuda/cuda_kernels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "attention/cuda/copy_kv.h"
#include "attention/cuda/decode_plan.h"
#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/merge.h"
#include "attention/cuda/prefill_mma.h"
#include "attention/cuda/prefill_plan.h"
#include "attention/cuda/reference_attend.h"
#include "attention/cuda/reference_decode.h"
#include "attention/cuda/round_queries.h"
#include "attention/cuda/running_state.h"
#include "attention/cuda/tensor_map.h"
#include "attention/kv_pages.h"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

using Counter = unsigned long long;

/// Launches go to streams of the current device only.
void make_current(const CudaDevice& device) {
  cuda_check(cudaSetDevice(device.ordinal()), str("GPU {}", device.ordinal()));
}

/// The device, made current.
CudaDevice& current(Device& device) {
  auto* cuda = dynamic_cast<CudaDevice*>(&device);
  expects(cuda != nullptr, "CUDA kernels run on a CUDA device");
  make_current(*cuda);
  return *cuda;
}

/// The entries of a view's table that columns [0, columns) need.
std::span<const std::int32_t> table_of(const KvView& view, std::int64_t columns) {
  if (!view.table) return {};
  return {view.table,
          static_cast<std::size_t>((columns + view.page_tokens - 1) / view.page_tokens)};
}

std::size_t table_room(const KvView& view, std::int64_t columns) {
  return Descriptors::room<std::int32_t>(std::ssize(table_of(view, columns)));
}

/// `view` with its table on the GPU.
KvView with_table(const KvView& view, std::int64_t columns, Descriptors& descriptors) {
  KvView there = view;
  if (view.table) there.table = descriptors.add(table_of(view, columns));
  return there;
}

std::size_t room(const std::vector<KvSegment>& segments) {
  std::size_t bytes = Descriptors::room<KvSegment>(std::ssize(segments));
  for (const KvSegment& segment : segments) bytes += table_room(segment.view, segment.len);
  return bytes;
}

/// See element.cuh.
bool is_read(const KvView& view) {
  return view.type == KvType::kFloat32 || view.type == KvType::kBFloat16;
}

/// The segments and their tables, as kernels find them.
const KvSegment* add(std::vector<KvSegment> segments, Descriptors& descriptors) {
  for (KvSegment& segment : segments) {
    expects(is_read(segment.view), "these kernels read float32 and bfloat16");
    segment.view = with_table(segment.view, segment.len, descriptors);
  }
  return descriptors.add(std::span<const KvSegment>(segments));
}

KvType type_of(const DecodeRow& row) {
  const KvType type = row.segments.empty() ? KvType::kFloat32 : row.segments.front().view.type;
  expects(std::ranges::all_of(row.segments,
                              [&](const KvSegment& segment) { return segment.view.type == type; }),
          "the keys of a decode row are of one type");
  return type;
}

/// Splits whose partials need memory of their own: a row's only one goes to the row's own.
std::int64_t stored_splits(const DecodeRow& row) {
  const std::int64_t splits = decode_splits(row.columns());
  return splits > 1 ? splits : 0;
}

/// For which memory is laid out: a few sizes, so that a row that grows seldom moves what lies
/// behind its partials.
std::int64_t split_places(std::int64_t splits) {
  const auto step =
      std::max<std::uint64_t>(16, std::bit_floor(static_cast<std::uint64_t>(splits)) / 4);
  const auto steps = (static_cast<std::uint64_t>(splits) + step - 1) / step;
  return static_cast<std::int64_t>(steps * step);
}

/// Of the scratch: the counter of tiles, and what aligns the queries behind it.
constexpr std::size_t kCounterBytes = 256;

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

/// The same as Hopper's kernel takes it: memory as the copy engine sees it, and tiles dealt by a
/// counter.
PrefillSm90 with_maps(const PrefillMma& work, std::int64_t rows,
                      const std::vector<PlannedView>& views, Counter* next_tile,
                      const std::uint64_t* arrivals) {
  PrefillSm90 mapped{.q = query_map(work.q, rows, work.shape),
                     .shape = work.shape,
                     .scale = work.scale,
                     .order = work.order,
                     .query_tiles = work.query_tiles,
                     .segments = work.segments,
                     .next_tile = next_tile,
                     .arrivals = arrivals,
                     .state = work.state};
  for (std::size_t i = 0; i < views.size(); ++i) {
    mapped.k[i] = key_map(views[i].k, views[i], work.shape);
    mapped.v[i] = key_map(views[i].v, views[i], work.shape);
  }
  return mapped;
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

/// Columns of each side, up to the last that is copied.
std::int64_t columns_read(const KvCopy& copy) { return copy.from_column + copy.to_columns.count; }
std::int64_t columns_written(const KvCopy& copy) { return copy.to_columns.last() + 1; }

/// Whether kernels that fold tiles know the shape.
bool runs_tiles(const HeadShape& shape, float scale) {
  return head_dim_runs_tiles(shape.head_dim) && scale > 0;
}

int multiprocessors_of(const CudaDevice& gpu) {
  int count = 0;
  cuda_check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, gpu.ordinal()),
             "counting multiprocessors");
  return count;
}

}  // namespace

CudaCallMemory::CudaCallMemory(CudaDevice& gpu)
    : device(gpu),
      descriptors(gpu),
      splits(gpu),
      queries(gpu),
      keys(gpu),
      arrivals(gpu),
      multiprocessors(multiprocessors_of(gpu)) {}

CudaAttentionKernels::CudaAttentionKernels(Device& device, const HeadShape& shape, float scale,
                                           const KernelChoice& choice)
    : CudaAttentionKernels(std::make_shared<CudaCallMemory>(current(device)), shape, scale,
                           choice) {}

CudaAttentionKernels::CudaAttentionKernels(std::shared_ptr<CudaCallMemory> memory,
                                           const HeadShape& shape, float scale,
                                           const KernelChoice& choice)
    : memory_(std::move(memory)),
      shape_(shape),
      scale_(scale),
      choice_(choice),
      prefill_(runs_tiles(shape, scale) ? choice.prefill : PrefillKernel::kReference),
      bad_lse_(memory_->device.allocate(sizeof(Counter))) {
  expects_supported(shape);
  cuda_check(cudaMemset(bad_lse_.as<Counter>().data(), 0, sizeof(Counter)), "clearing a counter");
  cuda_check(cudaStreamSynchronize(nullptr), "clearing a counter");  // other streams do not wait
  prepare_reference_attend(shape.head_dim);
  if (prefill_ == PrefillKernel::kSm90) prepare_prefill_sm90(shape.head_dim);
  if (prefill_ == PrefillKernel::kMma) prepare_prefill_mma(shape.head_dim);
  if (choice_.mma_decode && decodes_by_mma(shape)) mma_decode_ = prepare_mma_decode(shape.head_dim);
}

std::string_view CudaAttentionKernels::isa() const {
  switch (prefill_) {
    case PrefillKernel::kReference:
      return "cuda reference";
    case PrefillKernel::kMma:
      return "cuda mma";
    case PrefillKernel::kSm90:
      return "cuda sm90";
  }
  return {};
}

std::int64_t CudaAttentionKernels::bad_lse_total() const {
  make_current(memory_->device);
  Counter counter = 0;
  cuda_check(
      cudaMemcpy(&counter, bad_lse_.as<Counter>().data(), sizeof(counter), cudaMemcpyDeviceToHost),
      "reading a counter");
  return static_cast<std::int64_t>(counter);
}

std::unique_ptr<AttentionKernels> CudaAttentionKernels::for_heads(const HeadShape& shape) const {
  make_current(memory_->device);
  return std::make_unique<CudaAttentionKernels>(memory_, shape, scale_, choice_);
}

KvType CudaAttentionKernels::new_columns(KvType pages) const {
  const bool rounds = prefill_ != PrefillKernel::kReference && choice_.rounds_keys;
  return rounds && pages == KvType::kBFloat16 ? KvType::kBFloat16 : KvType::kFloat32;
}

CudaStream& CudaAttentionKernels::native(Stream& stream) const {
  make_current(memory_->device);
  return as_cuda(stream);
}

void CudaAttentionKernels::reset(Stream& stream, RunningState state, std::int64_t rows) {
  native(stream).launch<launch_reset>(state, rows * shape_.query_heads, shape_.head_dim);
}

void CudaAttentionKernels::attend(Stream& stream, const QueryRows& rows,
                                  std::vector<KvSegment> segments, RunningState state) {
  segments = checked(std::move(segments));
  if (rows.positions.empty() || segments.empty()) return;
  CudaStream& to = native(stream);
  expect_no_recording(to, "prefill");
  if (prefill_ == PrefillKernel::kReference) {
    return attend_reference(rows, std::move(segments), state, to);
  }
  const std::size_t wide = choice_.rounds_keys ? rounded_bytes(segments, shape_) : 0;
  if (wide == 0) return attend_tiles(rows, segments, {}, state, to);
  SharedScratch::Turn keys(memory_->keys, wide, to);
  attend_tiles(rows, rounded(stream, std::move(segments), keys.values()), {}, state, to);
  keys.end();
}

void CudaAttentionKernels::attend_whole(Stream& stream, const QueryRows& rows,
                                        std::vector<ArrivingSegments> sources, RunningState state,
                                        bool beside_kernels) {
  const bool fit = std::ranges::all_of(sources, [](const ArrivingSegments& source) {
    return std::ranges::all_of(source.segments, [](const KvSegment& segment) {
      return segment.len == 0 || fits_tiles(segment);
    });
  });
  // Where messages do not move beside kernels, a launch for each source leaves them time to travel.
  const bool would_stop = !beside_kernels && std::ranges::any_of(sources, [](const auto& source) {
    return source.arrived.state() != nullptr;
  });
  if (prefill_ != PrefillKernel::kSm90 || !fit || would_stop) {
    return AttentionKernels::attend_whole(stream, rows, std::move(sources), state, beside_kernels);
  }
  CudaStream& to = native(stream);
  expect_no_recording(to, "prefill");
  std::vector<KvSegment> segments;
  std::vector<std::uint64_t> arrivals;
  for (ArrivingSegments& source : sources) {
    const std::vector<KvSegment> arriving = checked(std::move(source.segments));
    segments.insert(segments.end(), arriving.begin(), arriving.end());
    arrivals.resize(segments.size(), memory_->arrivals.expect(source.arrived));
  }
  const std::int64_t count = std::ssize(rows.positions);
  const bool is_one_launch = segments_within(segments, kMostViews) == segments.size();
  PrefillPlan plan = is_one_launch ? plan_prefill(rows.positions, segments) : PrefillPlan();
  const bool is_whole = plan.rows() == count;  // rows that see nothing have results too
  if (!is_whole) reset(stream, state, count);
  if (is_one_launch) {
    launch_tiles(rows, std::move(plan), segments, arrivals, state, is_whole, to);
  } else {
    attend_tiles(rows, segments, arrivals, state, to);
  }
  if (!is_whole) finish(stream, state, {state.acc, state.m}, count);
  for (const ArrivingSegments& source : sources) to.wait(source.arrived);
}

std::vector<KvSegment> CudaAttentionKernels::rounded(Stream& stream,
                                                     std::vector<KvSegment> segments,
                                                     float* memory) {
  auto* next = reinterpret_cast<std::byte*>(memory);
  std::vector<KvCopy> copies;
  for (KvSegment& segment : segments) {
    if (segment.view.type != KvType::kFloat32) continue;
    const KvView there = pages_at(next, KvType::kBFloat16, shape_, segment.len);
    copies.push_back({segment.view, 0, there, {.count = segment.len}});
    next += rounded_bytes(segment, shape_);
    segment.view = there;
  }
  copy_kv(stream, std::move(copies));
  return segments;
}

void CudaAttentionKernels::attend_tiles(const QueryRows& rows,
                                        const std::vector<KvSegment>& segments,
                                        const std::vector<std::uint64_t>& arrivals,
                                        RunningState state, CudaStream& to) {
  if (!std::ranges::all_of(segments, fits_tiles)) {
    return attend_reference(rows, segments, state, to);
  }
  std::span<const KvSegment> left = segments;
  std::span<const std::uint64_t> awaited = arrivals;
  while (!left.empty()) {
    const std::size_t count = segments_within(left, kMostViews);
    launch_tiles(rows, plan_prefill(rows.positions, left.first(count)), left.first(count),
                 awaited.first(std::min(count, awaited.size())), state, false, to);
    left = left.subspan(count);
    awaited = awaited.subspan(std::min(count, awaited.size()));
  }
}

void CudaAttentionKernels::attend_reference(const QueryRows& rows, std::vector<KvSegment> segments,
                                            RunningState state, CudaStream& to) {
  const std::int64_t row_count = std::ssize(rows.positions);
  const std::int64_t segment_count = std::ssize(segments);
  Descriptors& descriptors =
      memory_->descriptors.take(Descriptors::room<std::int64_t>(row_count) + room(segments), to);
  const ReferenceAttend work{.shape = shape_,
                             .scale = scale_,
                             .q = rows.q,
                             .positions = descriptors.add(rows.positions),
                             .rows = row_count,
                             .segments = add(std::move(segments), descriptors),
                             .segment_count = segment_count,
                             .state = state};
  memory_->descriptors.enqueue(descriptors, to,
                               [&] { launch_reference_attend(work, to.native()); });
}

void CudaAttentionKernels::launch_tiles(const QueryRows& rows, PrefillPlan plan,
                                        std::span<const KvSegment> segments,
                                        std::span<const std::uint64_t> arrivals, RunningState state,
                                        bool is_whole, CudaStream& to) {
  if (plan.query_tiles.empty()) return;  // no row sees a column
  const std::int64_t row_count = std::ssize(rows.positions);
  const std::int64_t values = row_count * query_values(shape_);
  SharedScratch::Turn scratch(memory_->queries,
                              kCounterBytes + values * value_bytes(KvType::kBFloat16), to);
  auto* const memory = reinterpret_cast<std::byte*>(scratch.values());
  std::size_t bytes = Descriptors::room<QueryTile>(std::ssize(plan.query_tiles)) +
                      Descriptors::room<TileSegment>(std::ssize(plan.segments));
  for (const KvSegment& segment : segments) bytes += table_room(segment.view, segment.len);
  Descriptors& descriptors = memory_->descriptors.take(bytes, to);
  std::vector<const std::int32_t*> tables;
  for (const KvSegment& segment : segments) {
    tables.push_back(with_table(segment.view, segment.len, descriptors).table);
  }
  for (std::size_t i = 0; i < plan.segments.size(); ++i) {
    plan.segments[i].table = tables[plan.sources[i]];
    if (!arrivals.empty()) plan.segments[i].arrival = arrivals[plan.sources[i]];
  }
  PrefillMma work{.q = memory + kCounterBytes,
                  .shape = shape_,
                  .scale = scale_,
                  .order = order_tiles(plan, shape_),
                  .query_tiles = descriptors.add(std::span<const QueryTile>(plan.query_tiles)),
                  .segments = descriptors.add(std::span<const TileSegment>(plan.segments)),
                  .state = state};
  for (std::size_t i = 0; i < plan.views.size(); ++i) {
    const PlannedView& view = plan.views[i];
    work.views[i] = {view.k, view.v, view.head_stride, view.page_stride};
  }
  auto* const counter = reinterpret_cast<Counter*>(memory);
  memory_->descriptors.enqueue(descriptors, to, [&] {
    launch_round_queries(rows.q, values, memory + kCounterBytes, counter, to.native());
    if (prefill_ == PrefillKernel::kMma) return launch_prefill_mma(work, to.native());
    PrefillSm90 mapped = with_maps(work, row_count, plan.views, counter, memory_->arrivals.count());
    mapped.is_whole = is_whole;
    launch_prefill_sm90(mapped, choice_.rung, memory_->multiprocessors, to.native());
  });
  scratch.end();
}

void CudaAttentionKernels::finish(Stream& stream, RunningState state, Partial out,
                                  std::int64_t rows) {
  native(stream).launch<launch_finish>(state, out, rows * shape_.query_heads, shape_.head_dim);
}

void CudaAttentionKernels::decode(Stream& stream, std::vector<DecodeRow> rows) {
  for (const DecodeRow& row : rows) {
    expects(std::ranges::all_of(row.segments, &KvSegment::is_seen_whole),
            "segments have a length and pages, and a decode row sees all of them");
  }
  if (rows.empty()) return;
  CudaStream& to = native(stream);
  // Row by row: a neighbour's keys must not decide which kernel takes a row.
  const auto others = std::stable_partition(rows.begin(), rows.end(), [&](const DecodeRow& row) {
    return mma_decode_ && fits_splits(row);
  });
  decode_mma({rows.begin(), others}, to);
  rows.erase(rows.begin(), others);
  decode_reference(std::move(rows), to);
}

void CudaAttentionKernels::decode_mma(std::span<const DecodeRow> rows, CudaStream& to) {
  if (rows.empty()) return;
  DecodePlan plan = plan_decode(rows);
  const SplitCounts counts = plan.counts();
  const std::int64_t splits = counts.splits;
  expects(splits * shape_.kv_heads < std::int64_t{1} << 31, "a decode batch fits into one grid");
  const std::int64_t places = split_places(splits);
  SharedScratch::Turn scratch(memory_->splits, sizeof(float) * places * partial_values(shape_), to);
  std::size_t bytes =
      Descriptors::room<SplitCounts>(1) + Descriptors::room<SplitRow>(std::ssize(plan.rows)) +
      Descriptors::room<DecodeSplit>(splits) + Descriptors::room<SplitKeys>(std::ssize(plan.keys));
  for (const DecodeRow& row : rows) {
    for (const KvSegment& segment : row.segments) bytes += table_room(segment.view, segment.len);
  }
  Descriptors& descriptors = memory_->descriptors.take(bytes, to);
  auto keys = plan.keys.begin();
  for (const DecodeRow& row : rows) {
    for (const KvSegment& segment : row.segments) {
      if (segment.len == 0) continue;
      (keys++)->table = with_table(segment.view, segment.len, descriptors).table;
    }
  }
  const MmaDecode work{.shape = shape_,
                       .scale = scale_,
                       .counts = descriptors.add(std::span(&counts, 1)),
                       .rows = descriptors.add(std::span<const SplitRow>(plan.rows)),
                       .splits = descriptors.add(std::span<const DecodeSplit>(plan.splits)),
                       .keys = descriptors.add(std::span<const SplitKeys>(plan.keys)),
                       .parts = partial_at(scratch.values(), places, shape_),
                       .bad_total = bad_lse_.as<Counter>().data()};
  memory_->descriptors.enqueue(descriptors, to, [&] {
    to.launch<launch_mma_decode>(work, std::int64_t{counts.rows}, *mma_decode_);
  });
  scratch.end();
}

void CudaAttentionKernels::decode_reference(std::vector<DecodeRow> rows, CudaStream& to) {
  if (rows.empty()) return;
  std::size_t bytes = Descriptors::room<ReferenceDecodeRow>(std::ssize(rows));
  std::int64_t stored = 0, most = 0;
  for (const DecodeRow& row : rows) {
    bytes += room(row.segments);
    stored += stored_splits(row);
    most = std::max(most, decode_splits(row.columns()));
  }
  const std::int64_t heads = shape_.query_heads, values = heads * (shape_.head_dim + 1);
  SharedScratch::Turn scratch(memory_->splits, sizeof(float) * stored * values, to);
  float* next = scratch.values();
  Descriptors& descriptors = memory_->descriptors.take(bytes, to);
  std::vector<ReferenceDecodeRow> descriptions;
  for (DecodeRow& row : rows) {
    const std::int64_t total = row.columns(), count = stored_splits(row);
    const Partial splits =
        count > 0 ? Partial{next, next + count * heads * shape_.head_dim} : row.out;
    next += count * values;
    const KvType type = type_of(row);
    descriptions.push_back(
        {row.q, add(std::move(row.segments), descriptors), total, type, splits, row.out});
  }
  const ReferenceDecode work{
      .shape = shape_,
      .scale = scale_,
      .rows = descriptors.add(std::span<const ReferenceDecodeRow>(descriptions)),
      .row_count = std::ssize(descriptions),
      .most_splits = most,
      .bad_total = bad_lse_.as<Counter>().data()};
  memory_->descriptors.enqueue(descriptors, to, [&] { to.launch<launch_reference_decode>(work); });
  scratch.end();
}

void CudaAttentionKernels::merge(Stream& stream, std::vector<Partial> partials, Partial out,
                                 std::int64_t rows) {
  if (rows == 0) return;
  CudaStream& to = native(stream);
  Descriptors& descriptors =
      memory_->descriptors.take(Descriptors::room<Partial>(std::ssize(partials)), to);
  const Merge work{.partials = descriptors.add(std::span<const Partial>(partials)),
                   .count = std::ssize(partials),
                   .out = out,
                   .items = rows * shape_.query_heads,
                   .head_dim = shape_.head_dim,
                   .bad_total = bad_lse_.as<Counter>().data()};
  memory_->descriptors.enqueue(descriptors, to, [&] { to.launch<launch_merge>(work); });
}

void CudaAttentionKernels::copy_kv(Stream& stream, std::vector<KvCopy> copies) {
  std::erase_if(copies, [](const KvCopy& copy) { return copy.to_columns.count == 0; });
  if (copies.empty()) return;
  expects(std::ranges::all_of(
              copies, [](const KvCopy& copy) { return is_read(copy.from) && is_read(copy.to); }),
          "these kernels copy float32 and bfloat16");
  CudaStream& to = native(stream);
  std::size_t bytes = Descriptors::room<KvCopy>(std::ssize(copies));
  std::int64_t longest = 0;
  for (const KvCopy& copy : copies) {
    bytes += table_room(copy.from, columns_read(copy)) + table_room(copy.to, columns_written(copy));
    longest = std::max(longest, copy.to_columns.count);
  }
  Descriptors& descriptors = memory_->descriptors.take(bytes, to);
  for (KvCopy& copy : copies) {
    copy.from = with_table(copy.from, columns_read(copy), descriptors);
    copy.to = with_table(copy.to, columns_written(copy), descriptors);
  }
  const KvCopy* there = descriptors.add(std::span<const KvCopy>(copies));
  memory_->descriptors.enqueue(descriptors, to, [&] {
    to.launch<launch_copy_kv>(there, std::int64_t{std::ssize(copies)}, longest, shape_);
  });
}

std::unique_ptr<AttentionKernels> new_chosen_cuda_kernels(Device& device, const HeadShape& shape,
                                                          float scale, const char* word,
                                                          Precision precision) {
  current(device);  // whose kind is asked for
  return std::make_unique<CudaAttentionKernels>(device, shape, scale,
                                                choose_kernel(word, precision));
}

}  // namespace longspan
