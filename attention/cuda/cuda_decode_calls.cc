#include "attention/cuda/cuda_decode_calls.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "attention/cuda/decode_plan.h"
#include "attention/cuda/merge.h"
#include "attention/cuda/reference_decode.h"
#include "attention/cuda/segment_descriptors.h"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/error.h"

namespace longspan {
namespace {

using Counter = unsigned long long;

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

}  // namespace

CudaDecodeCalls::CudaDecodeCalls(CudaCallMemory& memory, const HeadShape& shape, float scale,
                                 bool by_mma)
    : memory_(memory),
      shape_(shape),
      scale_(scale),
      bad_lse_(memory.device.allocate(sizeof(Counter))) {
  cuda_check(cudaMemset(bad_lse_.as<Counter>().data(), 0, sizeof(Counter)), "clearing a counter");
  cuda_check(cudaStreamSynchronize(nullptr), "clearing a counter");  // other streams do not wait
  if (by_mma && decodes_by_mma(shape)) mma_ = prepare_mma_decode(shape.head_dim);
}

std::int64_t CudaDecodeCalls::bad_lse_total() const {
  Counter counter = 0;
  cuda_check(
      cudaMemcpy(&counter, bad_lse_.as<Counter>().data(), sizeof(counter), cudaMemcpyDeviceToHost),
      "reading a counter");
  return static_cast<std::int64_t>(counter);
}

void CudaDecodeCalls::decode(std::vector<DecodeRow> rows, CudaStream& to) {
  for (const DecodeRow& row : rows) {
    expects(std::ranges::all_of(row.segments, &KvSegment::is_seen_whole),
            "segments have a length and pages, and a decode row sees all of them");
  }
  // Row by row: a neighbour's keys must not decide which kernel takes a row.
  const auto others = std::stable_partition(
      rows.begin(), rows.end(), [&](const DecodeRow& row) { return mma_ && fits_splits(row); });
  decode_mma({rows.begin(), others}, to);
  rows.erase(rows.begin(), others);
  decode_reference(std::move(rows), to);
}

void CudaDecodeCalls::decode_mma(std::span<const DecodeRow> rows, CudaStream& to) {
  if (rows.empty()) return;
  DecodePlan plan = plan_decode(rows);
  const SplitCounts counts = plan.counts();
  const std::int64_t splits = counts.splits;
  expects(splits * shape_.kv_heads < std::int64_t{1} << 31, "a decode batch fits into one grid");
  const std::int64_t places = split_places(splits);
  SharedScratch::Turn scratch(memory_.splits, sizeof(float) * places * partial_values(shape_), to);
  std::size_t bytes =
      Descriptors::room<SplitCounts>(1) + Descriptors::room<SplitRow>(std::ssize(plan.rows)) +
      Descriptors::room<DecodeSplit>(splits) + Descriptors::room<SplitKeys>(std::ssize(plan.keys));
  for (const DecodeRow& row : rows) bytes += tables_room(row.segments);
  Descriptors& descriptors = memory_.descriptors.take(bytes, to);
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
  memory_.descriptors.enqueue(descriptors, to, [&] {
    to.launch<launch_mma_decode>(work, std::int64_t{counts.rows}, *mma_);
  });
  scratch.end();
}

void CudaDecodeCalls::decode_reference(std::vector<DecodeRow> rows, CudaStream& to) {
  if (rows.empty()) return;
  std::size_t bytes = Descriptors::room<ReferenceDecodeRow>(std::ssize(rows));
  std::int64_t stored = 0, most = 0;
  for (const DecodeRow& row : rows) {
    bytes += segments_room(row.segments);
    stored += stored_splits(row);
    most = std::max(most, decode_splits(row.columns()));
  }
  const std::int64_t heads = shape_.query_heads, values = heads * (shape_.head_dim + 1);
  SharedScratch::Turn scratch(memory_.splits, sizeof(float) * stored * values, to);
  float* next = scratch.values();
  Descriptors& descriptors = memory_.descriptors.take(bytes, to);
  std::vector<ReferenceDecodeRow> descriptions;
  for (DecodeRow& row : rows) {
    const std::int64_t total = row.columns(), count = stored_splits(row);
    const Partial splits =
        count > 0 ? Partial{next, next + count * heads * shape_.head_dim} : row.out;
    next += count * values;
    const KvType type = type_of(row);
    descriptions.push_back(
        {row.q, add_segments(std::move(row.segments), descriptors), total, type, splits, row.out});
  }
  const ReferenceDecode work{
      .shape = shape_,
      .scale = scale_,
      .rows = descriptors.add(std::span<const ReferenceDecodeRow>(descriptions)),
      .row_count = std::ssize(descriptions),
      .most_splits = most,
      .bad_total = bad_lse_.as<Counter>().data()};
  memory_.descriptors.enqueue(descriptors, to, [&] { to.launch<launch_reference_decode>(work); });
  scratch.end();
}

void CudaDecodeCalls::merge(const std::vector<Partial>& partials, Partial out, std::int64_t rows,
                            CudaStream& to) {
  if (rows == 0) return;
  Descriptors& descriptors =
      memory_.descriptors.take(Descriptors::room<Partial>(std::ssize(partials)), to);
  const Merge work{.partials = descriptors.add(std::span<const Partial>(partials)),
                   .count = std::ssize(partials),
                   .out = out,
                   .items = rows * shape_.query_heads,
                   .head_dim = shape_.head_dim,
                   .bad_total = bad_lse_.as<Counter>().data()};
  memory_.descriptors.enqueue(descriptors, to, [&] { to.launch<launch_merge>(work); });
}

}  // namespace longspan
