// AttentionKernels on CPU streams.
#pragma once

#include <atomic>

#include "attention/cpu/workspace.h"
#include "attention/kernels.h"

namespace longspan {

class CpuAttentionKernels final : public AttentionKernels {
 public:
  /// Outlives every stream it enqueued on. `kernels`: some this machine supports.
  CpuAttentionKernels(const HeadShape& shape, float scale, const CompiledKernels& kernels);

  const HeadShape& shape() const override { return shape_; }
  std::string_view isa() const override { return kernels_.name; }
  bool reads_choices() const override { return true; }
  std::int64_t bad_lse_total() const override { return bad_lse_total_; }
  std::unique_ptr<AttentionKernels> for_heads(const HeadShape& shape) const override;

  void reset(Stream& stream, RunningState state, std::int64_t rows) override;
  void attend(Stream& stream, const QueryRows& rows, std::vector<KvSegment> segments,
              RunningState state) override;
  void finish(Stream& stream, RunningState state, Partial out, std::int64_t rows) override;
  void decode(Stream& stream, std::vector<DecodeRow> rows) override;
  void merge(Stream& stream, std::vector<Partial> partials, Partial out,
             std::int64_t rows) override;
  void copy_kv(Stream& stream, std::vector<KvCopy> copies) override;

 private:
  HeadShape shape_;
  float scale_;
  const CompiledKernels& kernels_;
  std::atomic<std::int64_t> bad_lse_total_ = 0;
  WorkspacePool workspaces_;
};

}  // namespace longspan
