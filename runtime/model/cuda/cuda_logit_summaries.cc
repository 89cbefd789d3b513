#include "runtime/model/cuda/cuda_logit_summaries.h"

#include <algorithm>

#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/cuda/logit_kernels.h"

namespace longspan {
namespace {

template <typename T>
std::size_t bytes_of(std::int64_t count) {
  return static_cast<std::size_t>(count) * sizeof(T);
}

}  // namespace

CudaLogitSummaries::CudaLogitSummaries(CudaDevice& device, int vocabulary, std::int64_t wishes)
    : device_(device), vocabulary_(vocabulary), most_(wishes) {
  const auto exchanged = [&](const auto& allocate) {
    return Exchanged{allocate(bytes_of<LogitWish>(wishes)),
                     allocate(bytes_of<LogitSummary>(wishes)),
                     allocate(bytes_of<ListedLogit>(wishes * kListedLogits))};
  };
  here_ = exchanged([&](std::size_t bytes) { return device.allocate_on_host(bytes); });
  there_ = exchanged([&](std::size_t bytes) { return device.allocate(bytes); });
  const std::int64_t pieces = wishes * logit_pieces(vocabulary);
  pieces_ = device.allocate(bytes_of<LogitPiece>(pieces));
  piece_lists_ = device.allocate(bytes_of<RankedLogit>(pieces * kListedLogits));
}

void CudaLogitSummaries::summarise(Stream& stream, const float* logits,
                                   std::vector<LogitWish> wishes) {
  const std::int64_t count = std::ssize(wishes);
  expects(count <= most_, "no more wishes than there is memory for");
  if (count == 0) return;
  cuda_check(cudaSetDevice(device_.ordinal()), str("GPU {}", device_.ordinal()));
  std::ranges::copy(wishes, here_.wishes.as<LogitWish>().begin());
  const auto copy = [&](const Buffer& to, const Buffer& from, std::size_t bytes) {
    device_.copy(stream, to.bytes().first(bytes), from.bytes().first(bytes));
  };
  copy(there_.wishes, here_.wishes, bytes_of<LogitWish>(count));
  launch_summarise_logits({.logits = logits,
                           .vocabulary = vocabulary_,
                           .wishes = there_.wishes.as<LogitWish>().data(),
                           .count = count,
                           .pieces = pieces_.as<LogitPiece>().data(),
                           .piece_lists = piece_lists_.as<RankedLogit>().data(),
                           .summaries = there_.summaries.as<LogitSummary>().data(),
                           .lists = there_.lists.as<ListedLogit>().data()},
                          as_cuda(stream).native());
  copy(here_.summaries, there_.summaries, bytes_of<LogitSummary>(count));
  if (std::ranges::any_of(wishes, &LogitWish::wants_list)) {
    copy(here_.lists, there_.lists, bytes_of<ListedLogit>(count * kListedLogits));
  }
}

const LogitSummary& CudaLogitSummaries::summary(std::size_t wish) const {
  return here_.summaries.as<LogitSummary>()[wish];
}

std::span<const ListedLogit> CudaLogitSummaries::list(std::size_t wish) const {
  if (!here_.wishes.as<LogitWish>()[wish].wants_list) return {};
  const std::int64_t count = std::min<std::int64_t>(kListedLogits, vocabulary_);
  return here_.lists.as<ListedLogit>().subspan(wish * kListedLogits, count);
}

}  // namespace longspan
