#include "comm/cuda/cuda_machine.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <span>
#include <utility>

#include "comm/agreement.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/nccl_communicator.h"
#include "comm/cuda/peer_communicator.h"
#include "comm/cuda/peer_trial.h"
#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

class CudaMachine final : public Machine {
 public:
  /// `sharing`: the most ranks that have one GPU.
  CudaMachine(std::unique_ptr<Machine> host, std::unique_ptr<CudaDevice> gpu, std::int64_t sharing,
              const MachineOptions& options)
      : host_(std::move(host)), gpu_(std::move(gpu)), sharing_(sharing) {
    if (host_->size() == 1) return;
    const bool one_host = std::ssize(host_->host_ranks()) == host_->size();
    const bool tries_peers = options.gpu_link ? *options.gpu_link == GpuLink::kPeer : one_host;
    if (tries_peers) data_ = link_peers(options.hang_timeout);
    if (data_) return;
    data_ = std::make_unique<NcclCommunicator>(*gpu_, host_->control(), options.hang_timeout);
  }

  Device& device() override { return *gpu_; }
  Communicator& data() override { return data_ ? *data_ : host_->data(); }
  Communicator& control() override { return host_->control(); }
  const std::vector<int>& host_ranks() const override { return host_->host_ranks(); }
  const std::string& host() const override { return host_->host(); }
  int threads() const override { return host_->threads(); }
  std::string placement() const override {
    return str("{}; {}", gpu_->description(), host_->placement());
  }
  bool abandoned() const override { return host_->abandoned(); }
  Backend backend() const override { return Backend::kCuda; }
  std::optional<std::int64_t> device_memory_left() override {
    return gpu_->free_bytes() / sharing_;
  }

 private:
  /// Nothing where they cannot be linked; then NCCL may, unless it would refuse a GPU that is
  /// shared.
  std::unique_ptr<Communicator> link_peers(std::chrono::milliseconds deadline) {
    Communicator& control = host_->control();
    try {
      agree_on(control, [&] {
        if (std::ssize(host_->host_ranks()) < host_->size()) {
          throw ConfigError("ranks of several hosts share no memory of GPUs");
        }
        return true;
      });
      auto peers = std::make_unique<PeerCommunicator>(*gpu_, control, sharing_ > 1, deadline);
      const std::string line = agree_on(control, [&] { return try_out(*peers, *gpu_); });
      if (host_->rank() == 0) log(LogLevel::kInfo, line);
      if (sharing_ == 1) see_beside_kernels(*peers);
      return peers;
    } catch (const Error& error) {
      if (sharing_ > 1) throw;
      if (host_->rank() == 0) {
        log(LogLevel::kWarning,
            str("NCCL links the GPUs, not memory that they share: {}", error.what()));
      }
      return nullptr;
    }
  }

  void see_beside_kernels(PeerCommunicator& peers) {
    Communicator& control = host_->control();
    const bool seen = agree_on(control, [&] { return arrives_beside_kernels(peers, *gpu_); });
    if (!any_rank(control, !seen)) return peers.declare_beside_kernels();
    if (host_->rank() == 0) {
      log(LogLevel::kInfo, "messages of GPUs wait for kernels here: attention is one launch a hop");
    }
  }

  std::unique_ptr<Machine> host_;
  std::unique_ptr<CudaDevice> gpu_;
  const std::int64_t sharing_;
  std::unique_ptr<Communicator> data_;  // between several ranks
};

constexpr std::string_view kInstead = "; --backend cpu computes without";

/// The GPU of this rank's place among the host's ranks.
std::unique_ptr<CudaDevice> own_gpu(Machine& host, bool graphs) {
  const int count = cuda_device_count();
  if (count == 0) throw DeviceError(str("{}{}", reason_for_no_gpu(), kInstead));
  const auto place = std::ranges::find(host.host_ranks(), host.rank()) - host.host_ranks().begin();
  return std::make_unique<CudaDevice>(static_cast<int>(place % count), graphs);
}

/// The most ranks that have the same GPU. A rank that sees one GPU may see another one than its
/// neighbour does: GPUs are told apart by their own names. Throws where they may not share.
std::int64_t most_ranks_of_a_gpu(Machine& host, const CudaDevice& gpu, bool may_share) {
  const std::string own = str("{} of {}", gpu.uuid(), host.host());
  const auto names = gather(host.control(), std::as_bytes(std::span(own)), 0);
  const std::int64_t most = agree_on(host.control(), [&] {
    std::map<std::vector<std::byte>, std::vector<std::size_t>> ranks_of;
    std::size_t most_of_one = 0;
    for (std::size_t rank = 0; rank < names.size(); ++rank) {
      std::vector<std::size_t>& ranks = ranks_of[names[rank]];
      ranks.push_back(rank);
      most_of_one = std::max(most_of_one, ranks.size());
      if (ranks.size() == 1 || may_share) continue;
      const std::string name(reinterpret_cast<const char*>(names[rank].data()), names[rank].size());
      throw DeviceError(
          str("ranks {} and {} would share {}: start one rank for each GPU of a host (mpirun -np, "
              "-npernode), or let them share it with --gpu-link peer{}",
              ranks.front(), rank, name, kInstead));
    }
    return static_cast<std::int64_t>(most_of_one);
  });
  // Known on rank 0.
  return -minimum(host.control(), -std::max<std::int64_t>(most, 1));
}

}  // namespace

void prepare_cuda_environment() {
  // A kernel that is loaded when it is first launched waits for those that run, and those may wait
  // for a peer that waits for it.
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);  // hardware queues: streams do not share one
  setenv("NCCL_NVLS_ENABLE", "0", 0);  // multicast puts a host's GPUs at risk, and gains us nothing
}

std::unique_ptr<Machine> open_cuda_machine(std::unique_ptr<Machine> host,
                                           const MachineOptions& options) {
  const int count = agree_on(host->control(), [] { return cuda_device_count(); });
  const bool nowhere = !any_rank(host->control(), count > 0);
  if (!options.backend && nowhere) return host;
  auto gpu = agree_on(host->control(), [&] { return own_gpu(*host, options.cuda_graphs); });
  const auto sharing = most_ranks_of_a_gpu(*host, *gpu, options.gpu_link == GpuLink::kPeer);
  return std::make_unique<CudaMachine>(std::move(host), std::move(gpu), sharing, options);
}

}  // namespace longspan
