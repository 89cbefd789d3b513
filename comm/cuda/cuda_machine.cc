#include "comm/cuda/cuda_machine.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <span>
#include <utility>

#include "comm/agreement.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/nccl_communicator.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

class CudaMachine final : public Machine {
 public:
  CudaMachine(std::unique_ptr<Machine> host, std::unique_ptr<CudaDevice> gpu,
              std::chrono::milliseconds deadline)
      : host_(std::move(host)), gpu_(std::move(gpu)) {
    if (host_->size() == 1) return;
    data_ = std::make_unique<NcclCommunicator>(*gpu_, host_->control(), deadline);
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
  std::optional<std::int64_t> device_memory_left() override { return gpu_->free_bytes(); }

 private:
  std::unique_ptr<Machine> host_;
  std::unique_ptr<CudaDevice> gpu_;
  std::unique_ptr<NcclCommunicator> data_;  // between several ranks
};

constexpr std::string_view kInstead = "; --backend cpu computes without";

/// The GPU of this rank's place among the host's ranks.
std::unique_ptr<CudaDevice> own_gpu(Machine& host) {
  const int count = cuda_device_count();
  if (count == 0) throw DeviceError(str("{}{}", reason_for_no_gpu(), kInstead));
  const auto place = std::ranges::find(host.host_ranks(), host.rank()) - host.host_ranks().begin();
  return std::make_unique<CudaDevice>(static_cast<int>(place % count));
}

/// A rank that sees one GPU may see another one than its neighbour does: GPUs are told apart by
/// their own names.
void expect_distinct(Machine& host, const CudaDevice& gpu) {
  const std::string own = str("{} of {}", gpu.uuid(), host.host());
  const auto names = gather(host.control(), std::as_bytes(std::span(own)), 0);
  agree_on(host.control(), [&] {
    std::map<std::vector<std::byte>, std::size_t> first;
    for (std::size_t rank = 0; rank < names.size(); ++rank) {
      const auto [at, is_new] = first.emplace(names[rank], rank);
      if (is_new) continue;
      const std::string name(reinterpret_cast<const char*>(names[rank].data()), names[rank].size());
      throw DeviceError(
          str("ranks {} and {} would share {}: start one rank for each GPU of a host (mpirun -np, "
              "-npernode){}",
              at->second, rank, name, kInstead));
    }
    return true;
  });
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
  auto gpu = agree_on(host->control(), [&] { return own_gpu(*host); });
  expect_distinct(*host, *gpu);
  return std::make_unique<CudaMachine>(std::move(host), std::move(gpu), options.hang_timeout);
}

}  // namespace longspan
