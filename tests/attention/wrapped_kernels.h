// Kernels that are others', for tests that change one thing about them.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "attention/kernels.h"

namespace longspan::test {

class WrappedKernels : public AttentionKernels {
 public:
  explicit WrappedKernels(std::unique_ptr<AttentionKernels> kernels)
      : kernels_(std::move(kernels)) {}

  const HeadShape& shape() const override { return kernels_->shape(); }
  std::string_view isa() const override { return kernels_->isa(); }
  std::int64_t bad_lse_total() const override { return kernels_->bad_lse_total(); }
  std::unique_ptr<AttentionKernels> for_heads(const HeadShape& shape) const override {
    return kernels_->for_heads(shape);
  }
  void reset(Stream& stream, RunningState state, std::int64_t rows) override {
    kernels_->reset(stream, state, rows);
  }
  void attend(Stream& stream, const QueryRows& rows, std::vector<KvSegment> segments,
              RunningState state) override {
    kernels_->attend(stream, rows, std::move(segments), state);
  }
  void finish(Stream& stream, RunningState state, Partial out, std::int64_t rows) override {
    kernels_->finish(stream, state, out, rows);
  }
  void decode(Stream& stream, std::vector<DecodeRow> rows) override {
    kernels_->decode(stream, std::move(rows));
  }
  void merge(Stream& stream, std::vector<Partial> partials, Partial out,
             std::int64_t rows) override {
    kernels_->merge(stream, std::move(partials), out, rows);
  }
  void copy_kv(Stream& stream, std::vector<KvCopy> copies) override {
    kernels_->copy_kv(stream, std::move(copies));
  }

 private:
  std::unique_ptr<AttentionKernels> kernels_;
};

/// Kernels to which new columns go as bfloat16, as to those of GPUs.
class NarrowColumns : public WrappedKernels {
 public:
  using WrappedKernels::WrappedKernels;

  KvType new_columns(KvType pages) const override {
    return pages == KvType::kBFloat16 ? KvType::kBFloat16 : KvType::kFloat32;
  }
  std::unique_ptr<AttentionKernels> for_heads(const HeadShape& shape) const override {
    return std::make_unique<NarrowColumns>(WrappedKernels::for_heads(shape));
  }
};

}  // namespace longspan::test
