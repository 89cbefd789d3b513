#include "attention/cpu/cpu_kernels.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "attention/cpu/copy_kv.h"
#include "attention/cpu/decode.h"
#include "attention/cpu/merge.h"
#include "attention/cpu/parallel.h"
#include "attention/cpu/prefill.h"
#include "comm/cpu/cpu_device.h"
#include "comm/error.h"

namespace longspan {
namespace {

/// Row-and-head results per task where each is little work: enough to be worth a thread.
constexpr std::int64_t kItemsPerTask = 256;

template <typename Body>
void for_each_item(std::int64_t items, const Body& body) {
  const std::int64_t tasks = (items + kItemsPerTask - 1) / kItemsPerTask;
  parallel_for(tasks, available_threads(), [&](std::int64_t task, int) {
    const std::int64_t end = std::min(items, (task + 1) * kItemsPerTask);
    for (std::int64_t item = task * kItemsPerTask; item < end; ++item) body(item);
  });
}

TraceLabel of_rows(const char* name, std::int64_t rows) {
  return {.name = name, .args = {{"rows", rows}}};
}

std::int64_t columns(const std::vector<KvSegment>& segments) {
  std::int64_t sum = 0;
  for (const KvSegment& segment : segments) sum += segment.len;
  return sum;
}

/// Tells a trace's reader whose keys these are; -1 when no position mattered.
std::int64_t first_position(const std::vector<KvSegment>& segments) {
  const auto masked = std::ranges::find_if(
      segments, [](const KvSegment& segment) { return !segment.mask.is_full(); });
  return masked == segments.end() ? -1 : masked->positions.first;
}

}  // namespace

CpuAttentionKernels::CpuAttentionKernels(const HeadShape& shape, float scale,
                                         const CompiledKernels& kernels)
    : shape_(shape), scale_(scale), kernels_(kernels), workspaces_(kernels, shape) {
  expects_supported(shape);
}

std::unique_ptr<AttentionKernels> CpuAttentionKernels::for_heads(const HeadShape& shape) const {
  return std::make_unique<CpuAttentionKernels>(shape, scale_, kernels_);
}

void CpuAttentionKernels::reset(Stream& stream, RunningState state, std::int64_t rows) {
  as_cpu(stream).enqueue(of_rows("reset", rows), [this, state, rows] {
    const std::int64_t items = rows * shape_.query_heads;
    std::fill_n(state.acc, items * shape_.head_dim, 0.0f);
    std::fill_n(state.m, items, -std::numeric_limits<float>::infinity());
    std::fill_n(state.l, items, 0.0f);
  });
}

void CpuAttentionKernels::attend(Stream& stream, const QueryRows& rows,
                                 std::vector<KvSegment> segments, RunningState state) {
  expects(std::ranges::all_of(segments, &KvSegment::is_well_formed),
          "segments have a length and pages");
  Prefill prefill{
      shape_, scale_, rows.q, {rows.positions.begin(), rows.positions.end()}, std::move(segments),
      state};
  const TraceLabel label{.name = "attend",
                         .args = {{"rows", std::ssize(rows.positions)},
                                  {"keys", columns(prefill.segments)},
                                  {"first_key", first_position(prefill.segments)}}};
  as_cpu(stream).enqueue(label, [this, prefill = std::move(prefill)] {
    const int threads = available_threads();
    auto workspace = workspaces_.take(threads);
    run_prefill(prefill, *workspace, threads);
    workspaces_.put(std::move(workspace));
  });
}

void CpuAttentionKernels::finish(Stream& stream, RunningState state, Partial out,
                                 std::int64_t rows) {
  as_cpu(stream).enqueue(of_rows("finish", rows), [this, state, out, rows] {
    for_each_item(rows * shape_.query_heads,
                  [&](std::int64_t at) { normalise(state, out, at, shape_.head_dim); });
  });
}

void CpuAttentionKernels::decode(Stream& stream, std::vector<DecodeRow> rows) {
  for (const DecodeRow& row : rows) {
    expects(std::ranges::all_of(row.segments, &KvSegment::is_seen_whole),
            "segments have a length and pages, and a decode row sees all of them");
  }
  const TraceLabel label = of_rows("attend_decode", std::ssize(rows));
  as_cpu(stream).enqueue(label, [this, decode = Decode{shape_, scale_, std::move(rows)}] {
    const int threads = available_threads();
    auto workspace = workspaces_.take(threads);
    bad_lse_total_ += run_decode(decode, *workspace, threads);
    workspaces_.put(std::move(workspace));
  });
}

void CpuAttentionKernels::merge(Stream& stream, std::vector<Partial> partials, Partial out,
                                std::int64_t rows) {
  as_cpu(stream).enqueue(of_rows("merge", rows), [this, partials = std::move(partials), out, rows] {
    for_each_item(rows * shape_.query_heads, [&](std::int64_t at) {
      const std::int64_t bad = merge_at(partials, out, at, shape_.head_dim);
      if (bad > 0) bad_lse_total_ += bad;
    });
  });
}

void CpuAttentionKernels::copy_kv(Stream& stream, std::vector<KvCopy> copies) {
  expects(std::ranges::all_of(copies, is_possible),
          "between two narrow types nothing is copied, and only bfloat16 to int8");
  const TraceLabel label{.name = "copy_kv", .args = {{"copies", std::ssize(copies)}}};
  as_cpu(stream).enqueue(label, [this, copies = std::move(copies)] {
    const std::int64_t tasks = std::ssize(copies) * shape_.kv_heads;
    parallel_for(tasks, available_threads(), [&](std::int64_t task, int) {
      copy_columns(kernels_, copies[task / shape_.kv_heads],
                   static_cast<int>(task % shape_.kv_heads), shape_.head_dim);
    });
  });
}

}  // namespace longspan
