// The attention kernels of a device.
//
// Every call enqueues on `stream` and copies the descriptions it is given; the memory they point
// to must live until the stream is past it. All reductions have a fixed order (segments in list
// order, merges in source order), so equal inputs give equal bits, whatever the thread count.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/partial.h"
#include "attention/precision.h"
#include "attention/segment.h"
#include "comm/device.h"

namespace longspan {

/// One row of a decode batch: it sees all columns of its segments.
struct DecodeRow {
  const float* q = nullptr;         // (query_heads, head_dim)
  std::vector<KvSegment> segments;  // may be empty: the partial is then (0, -inf)
  Partial out;                      // of this row

  std::int64_t columns() const {
    std::int64_t total = 0;
    for (const KvSegment& segment : segments) total += segment.len;
    return total;
  }
};

/// Columns from_column, from_column + 1, ... of `from` are copied to columns
/// to_columns.position(0), position(1), ... of `to`: K and V, all heads, converted between float32
/// and a narrow type where the views' types differ. Only whole pages become int8, each from within
/// one page: of bfloat16, which is rounded, or of int8, whose scales come along.
struct KvCopy {
  KvView from;
  std::int64_t from_column = 0;
  KvView to;
  PositionRun to_columns;
};

/// Segments whose memory is there when `arrived` is past; without an event it is there.
struct ArrivingSegments {
  Event arrived;
  std::vector<KvSegment> segments;
};

class AttentionKernels {
 public:
  virtual ~AttentionKernels() = default;

  virtual const HeadShape& shape() const = 0;
  /// "avx512", for logs.
  virtual std::string_view isa() const = 0;
  /// Sources that merge(), or decode() of its splits, has had to count as empty because their lse
  /// was NaN or +inf: of the calls that have run. Any thread.
  virtual std::int64_t bad_lse_total() const = 0;
  /// The same kernels for other heads: a slice of the model's. They count bad lse by themselves and
  /// may outlive these.
  virtual std::unique_ptr<AttentionKernels> for_heads(const HeadShape& shape) const = 0;

  /// What new keys and values become before they travel, where pages are of type `pages`: bfloat16
  /// if attend() rounds them to that anyway.
  virtual KvType new_columns(KvType /*pages*/) const { return KvType::kFloat32; }
  /// Whether attend() takes segments whose mask leaves a say to a KeyChoice.
  virtual bool reads_choices() const { return false; }
  /// Before any key: acc = 0, m = -inf, l = 0.
  virtual void reset(Stream& stream, RunningState state, std::int64_t rows) = 0;
  /// Folds the segments, in list order, into the running state of `rows`. The softmax is that of
  /// FlashAttention-2 (arXiv 2307.08691, section 3.1).
  virtual void attend(Stream& stream, const QueryRows& rows, std::vector<KvSegment> segments,
                      RunningState state) = 0;
  /// Attention to the end: reset(), attend() of each source in list order when it has arrived, and
  /// finish() in place: state.acc becomes O, state.m lse, to the same bits. `stream` waits for all
  /// sources. `beside_kernels`: they arrive also while a kernel has the whole device, which may
  /// then begin before they do and wait for what it needs.
  virtual void attend_whole(Stream& stream, const QueryRows& rows,
                            std::vector<ArrivingSegments> sources, RunningState state,
                            bool beside_kernels);
  /// The state as a partial. `out` may use the memory of acc and m.
  virtual void finish(Stream& stream, RunningState state, Partial out, std::int64_t rows) = 0;
  /// Rows of one token each over long keys (split-KV; FlashDecoding). Where a row's columns, end to
  /// end, are split follows from how many there are, so its bits do not depend on the rest of the
  /// batch, nor on how its columns are stored.
  virtual void decode(Stream& stream, std::vector<DecodeRow> rows) = 0;
  /// out = the partials merged in list order by log-sum-exp. A NaN or +inf lse counts as empty.
  /// `out` may be one of the partials.
  virtual void merge(Stream& stream, std::vector<Partial> partials, Partial out,
                     std::int64_t rows) = 0;
  virtual void copy_kv(Stream& stream, std::vector<KvCopy> copies) = 0;
};

/// What every implementation asks of a shape: every query head has a KV head and every KV head a
/// reader; head_dim is a multiple of 8, 16 to 256.
void expects_supported(const HeadShape& shape);

/// CPU kernels for `shape`, at the widest instruction set of this machine, or the one that
/// LONGSPAN_CPU_ISA (scalar, avx2, avx512, amx) names. `scale` multiplies q.k. Throws ConfigError
/// for an instruction set this machine lacks. In bfloat16 attend() multiplies by AMX, where that is
/// there and allowed; elsewhere everything is float32.
std::unique_ptr<AttentionKernels> new_cpu_attention_kernels(
    const HeadShape& shape, float scale, Precision precision = Precision::kFloat32);

/// bfloat16 where AMX is there and allowed, which multiplies an order of magnitude faster by it;
/// float32 elsewhere.
Precision fastest_cpu_precision();

/// The same on a CUDA device, which outlives them. In bfloat16 attend() multiplies on the matrix
/// units of a Hopper GPU. LONGSPAN_ATTENTION_KERNEL (reference, sm90) asks for a kernel. Throws
/// ConfigError if this build has no CUDA.
std::unique_ptr<AttentionKernels> new_cuda_attention_kernels(
    Device& device, const HeadShape& shape, float scale, Precision precision = Precision::kFloat32);

}  // namespace longspan
