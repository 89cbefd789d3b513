// LogitSummaries by a GPU's kernels. What a call needs and gives lies in memory of its own, for no
// call begins before the one before has been read.
#pragma once

#include "comm/cuda/cuda_device.h"
#include "runtime/model/logit_summary.h"

namespace longspan {

class CudaLogitSummaries final : public LogitSummaries {
 public:
  /// For so many wishes at once: 66 KB each of GPU memory with a vocabulary of 128,256. Borrows the
  /// device.
  CudaLogitSummaries(CudaDevice& device, int vocabulary, std::int64_t wishes);

  void summarise(Stream& stream, const float* logits, std::vector<LogitWish> wishes) override;
  const LogitSummary& summary(std::size_t wish) const override;
  std::span<const ListedLogit> list(std::size_t wish) const override;

 private:
  /// The same order on both sides: what the GPU is asked, and what it says.
  struct Exchanged {
    Buffer wishes, summaries, lists;
  };

  CudaDevice& device_;
  std::int64_t vocabulary_;
  std::int64_t most_;
  Exchanged here_, there_;
  Buffer pieces_, piece_lists_;
};

}  // namespace longspan
