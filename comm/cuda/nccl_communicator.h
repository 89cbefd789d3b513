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
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/exchange_watch.h"
#include "comm/cuda/nccl.h"
#include "comm/traffic_counter.h"

namespace longspan {

class NcclCommunicator final : public Communicator {
 public:
  /// Every rank of `control` calls this with its own GPU; ids and failures travel there. Borrows
  /// the GPU. Connects every pair of ranks, so that no exchange has to. Throws DeviceError, on all
  /// ranks alike, where NCCL is missing or ranks cannot be connected.
  NcclCommunicator(CudaDevice& gpu, Communicator& control, std::chrono::milliseconds deadline);
  ~NcclCommunicator() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) override;
  void transfer(std::vector<Send> sends, std::vector<Receive> receives, Patience patience) override;
  Traffic traffic() const override { return traffic_.read(); }

 private:
  using Clock = std::chrono::steady_clock;

  void connect(Communicator& control);
  void connect_pairs();
  void exchange(CudaStream& stream, std::vector<Send> sends, std::vector<Receive> receives,
                std::optional<std::chrono::milliseconds> deadline);
  void enqueue_group(CudaStream& stream, const std::vector<Send>& sends,
                     const std::vector<Receive>& receives);
  /// Waits until NCCL has done what it was asked for last: enqueued it, not run it.
  void settle(std::chrono::milliseconds deadline, std::string_view attempt);
  std::optional<std::string> find_error();
  void give_up();

  CudaDevice& gpu_;
  const Nccl& nccl_;
  const int rank_;
  const int size_;
  const std::chrono::milliseconds deadline_;
  TrafficCounter traffic_;
  std::unique_ptr<Stream> own_stream_;  // of transfer()

  std::mutex mutex_;  // of all calls that name communicator_: NCCL takes them one at a time
  Nccl::Communicator communicator_ = nullptr;
  std::unique_ptr<ExchangeWatch> watch_;  // last: its thread uses the rest
};

}  // namespace longspan
