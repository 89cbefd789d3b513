// A Communicator between GPUs, over one NCCL communicator that lives as long as the program. An
// exchange is a group of sends and receives, and groups of ranks are lists of peers (decision
// 0003): no NCCL communicator is ever made for one.
//
// Messages lie in the GPUs' memory. NCCL cannot tell when a peer sends another size than is
// expected: what then arrives is undefined, or nothing does. A lost peer is noticed by the
// deadline; the communicator is unusable afterwards.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "comm/communicator.h"
#include "comm/cuda/gpu_communicator.h"
#include "comm/cuda/nccl.h"

namespace longspan {

class NcclCommunicator final : public GpuCommunicator {
 public:
  /// Every rank of `control` calls this with its own GPU; ids and failures travel there. Borrows
  /// the GPU. Connects every pair of ranks, so that no exchange has to. Throws DeviceError, on all
  /// ranks alike, where NCCL is missing or ranks cannot be connected.
  NcclCommunicator(CudaDevice& gpu, Communicator& control, std::chrono::milliseconds deadline);
  ~NcclCommunicator() override;

 private:
  using Clock = std::chrono::steady_clock;

  void connect(Communicator& control);
  void connect_pairs();
  ProgressOfLaunch enqueue(CudaStream& stream, const std::vector<Send>& sends,
                           const std::vector<Receive>& receives) override;
  /// Waits until NCCL has done what it was asked for last: enqueued it, not run it.
  void settle(std::chrono::milliseconds deadline, std::string_view attempt);
  std::optional<std::string> find_error();
  void give_up();

  const Nccl& nccl_;
  std::mutex mutex_;  // of all calls that name communicator_: NCCL takes them one at a time
  Nccl::Communicator communicator_ = nullptr;
};

}  // namespace longspan
