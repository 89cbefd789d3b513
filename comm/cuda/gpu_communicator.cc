#include "comm/cuda/gpu_communicator.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <string>
#include <utility>

#include "comm/cuda/cuda_check.h"
#include "comm/error.h"
#include "comm/exchange_lists.h"
#include "comm/str.h"

namespace longspan {
namespace {

/// Messages of `rank` to itself become copies on `stream` and leave the lists.
void copy_own_messages(CudaDevice& gpu, CudaStream& stream, int rank, std::vector<Send>& sends,
                       std::vector<Receive>& receives) {
  const auto is_own = [rank](const auto& message) { return message.peer == rank; };
  auto receive = std::ranges::find_if(receives, is_own);
  for (const Send& send : sends) {
    if (!is_own(send)) continue;
    expects(receive != receives.end() && receive->bytes.size() == send.bytes.size(),
            "what a rank sends to itself it receives");
    gpu.copy(stream, receive->bytes, send.bytes);
    receive = std::find_if(receive + 1, receives.end(), is_own);
  }
  std::erase_if(sends, is_own);
  std::erase_if(receives, is_own);
}

}  // namespace

GpuCommunicator::GpuCommunicator(CudaDevice& gpu, const Communicator& control,
                                 std::chrono::milliseconds deadline)
    : gpu_(gpu),
      rank_(control.rank()),
      size_(control.size()),
      deadline_(deadline),
      own_stream_(gpu.new_stream()) {}

std::string GpuCommunicator::overdue(const std::vector<Send>& sends,
                                     const std::vector<Receive>& receives,
                                     std::chrono::milliseconds deadline) const {
  std::string list;
  for (const Receive& receive : receives) {
    list += str("; it receives from rank {} ({} bytes)", receive.peer, receive.bytes.size());
  }
  for (const Send& send : sends) {
    list += str("; it sends to rank {} ({} bytes)", send.peer, send.bytes.size());
  }
  return str("rank {}: exchange not done after {:.3f} s{}", rank_,
             std::chrono::duration<double>(deadline).count(), list);
}

void GpuCommunicator::watch(ExchangeWatch::FindError find_error, ExchangeWatch::GiveUp give_up) {
  watch_ =
      std::make_unique<ExchangeWatch>(gpu_.ordinal(), std::move(find_error), std::move(give_up));
}

void GpuCommunicator::exchange(Stream& stream, std::vector<Send> sends,
                               std::vector<Receive> receives) {
  expect_known_peers(sends, receives, size_);
  drop_empty_messages(sends, receives);
  const Traffic moved = traffic_of(sends, receives);
  begin(as_cuda(stream), std::move(sends), std::move(receives), deadline_, moved);
}

void GpuCommunicator::transfer(std::vector<Send> sends, std::vector<Receive> receives,
                               Patience patience) {
  expect_known_peers(sends, receives, size_);
  drop_empty_messages(sends, receives);
  const Traffic moved = traffic_of(sends, receives);
  exchange_now(std::move(sends), std::move(receives), patience.deadline);
  traffic_.add(moved);
}

void GpuCommunicator::exchange_now(std::vector<Send> sends, std::vector<Receive> receives,
                                   std::optional<std::chrono::milliseconds> deadline) {
  begin(as_cuda(*own_stream_), std::move(sends), std::move(receives), deadline, {});
  own_stream_->synchronize();
}

// A step that is launched as one gets here when it is gone through; what is counted is its launch.
void GpuCommunicator::begin(CudaStream& stream, std::vector<Send> sends,
                            std::vector<Receive> receives,
                            std::optional<std::chrono::milliseconds> deadline,
                            const Traffic& moved) {
  cuda_check(cudaSetDevice(gpu_.ordinal()), str("GPU {}", gpu_.ordinal()));
  copy_own_messages(gpu_, stream, rank_, sends, receives);
  ProgressOfLaunch progress;
  if (!sends.empty() || !receives.empty()) {
    if (const auto failure = watch_->failure()) {
      throw CommError(str("not begun: an earlier exchange was given up: {}", *failure));
    }
    progress = enqueue(stream, sends, receives);
  }
  const auto launched = [this, moved, progress = std::move(progress), failure = stream.failure(),
                         deadline, sends = std::move(sends), receives = std::move(receives)] {
    traffic_.add(moved);
    if (!progress) return;
    watch_->add({.progress = progress(),
                 .failure = failure,
                 .deadline = deadline,
                 .overdue = [this, sends, receives, late = deadline.value_or(deadline_)] {
                   return overdue(sends, receives, late);
                 }});
  };
  if (LaunchRecord* const step = stream.recording()) return step->when_launched(launched);
  launched();
}

}  // namespace longspan
