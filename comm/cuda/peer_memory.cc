#include "comm/cuda/peer_memory.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <exception>

#include "comm/agreement.h"
#include "comm/collective.h"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/peer_start.h"
#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::size_t kWordBytes = alignof(PeerLane);  // before the lanes
constexpr Patience kLeavePatience{std::chrono::seconds(10), std::chrono::milliseconds(1)};

PeerLane* lane_at(void* memory, std::size_t place) {
  return reinterpret_cast<PeerLane*>(static_cast<std::byte*>(memory) + kWordBytes +
                                     place * sizeof(PeerLane));
}

}  // namespace

PeerMemory::PeerMemory(CudaDevice& gpu, Communicator& control)
    : gpu_(gpu), control_(control), own_rank_(control.rank()) {
  static_assert(sizeof(Words) <= kWordBytes);
  const auto handle = agree_on(control, [&] {
    const auto peers = static_cast<std::size_t>(control.size() - 1);
    if (peers > kMostPeers) {
      throw ConfigError(
          str("{} GPUs of a host cannot be linked: at most {}", control.size(), kMostPeers + 1));
    }
    own_ = gpu.allocate(kWordBytes + peers * sizeof(PeerLane));
    cuda_check(cudaMemset(own_.bytes().data(), 0, own_.bytes().size()), "clearing peers' lanes");
    cuda_check(cudaDeviceSynchronize(), "clearing peers' lanes");
    return own_handle();
  });
  const auto handles = gather_to_all(control, handle);
  try {
    agree_on(control, [&] {
      open(handles);
      return true;
    });
  } catch (const Error&) {
    close();
    barrier(control);  // nobody has this rank's memory mapped any more: it may be freed
    throw;
  }
}

PeerMemory::~PeerMemory() {
  if (!abandoned_) {
    try {
      barrier(control_, kLeavePatience);  // nobody writes any more
      close();
      barrier(control_, kLeavePatience);  // nobody has it mapped any more
      return;
    } catch (const std::exception& error) {
      log(LogLevel::kWarning, str("leaving GPUs of this host: {}", error.what()));
    }
  }
  // Never freed: a peer may have it mapped.
  static_cast<void>(new Buffer(std::move(own_)));
}

std::vector<std::byte> PeerMemory::own_handle() const {
  cudaIpcMemHandle_t handle{};
  cuda_check(cudaIpcGetMemHandle(&handle, own_.bytes().data()),
             "sharing a GPU's memory with other ranks");
  std::vector<std::byte> bytes(sizeof(handle));
  std::memcpy(bytes.data(), &handle, sizeof(handle));
  return bytes;
}

void PeerMemory::open(const std::vector<std::byte>& handles) {
  for (int rank = 0; rank < control_.size(); ++rank) {
    if (rank == own_rank_) continue;
    cudaIpcMemHandle_t handle{};
    std::memcpy(&handle, handles.data() + static_cast<std::size_t>(rank) * sizeof(handle),
                sizeof(handle));
    void* memory = nullptr;
    cuda_check(cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess),
               str("reaching the memory of rank {}'s GPU", rank));
    opened_.push_back(memory);
    lanes_.push_back({.here = lane_at(own_.bytes().data(), peer_of(rank)),
                      .there = lane_at(memory, place_among_peers(rank, own_rank_))});
  }
}

void PeerMemory::close() {
  for (void* memory : opened_) {
    cuda_check(cudaIpcCloseMemHandle(memory), "leaving a peer's memory");
  }
  opened_.clear();
}

PeerWords PeerMemory::words() const {
  auto* const words = reinterpret_cast<Words*>(own_.bytes().data());
  return {.ticket = &words->ticket, .given_up = &words->given_up, .done = &words->done};
}

std::uint64_t* PeerMemory::given_up() const {
  return &reinterpret_cast<Words*>(own_.bytes().data())->given_up;
}

}  // namespace longspan
