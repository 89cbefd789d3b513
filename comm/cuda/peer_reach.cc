#include "comm/cuda/peer_reach.h"

#include <cudaTypedefs.h>

#include <algorithm>
#include <utility>

#include "comm/cuda/cuda_check.h"
#include "comm/cuda/driver_function.h"

namespace longspan {
namespace {

/// Of one peer: a model lands in a few allocations.
constexpr std::size_t kMostMapped = 32;

}  // namespace

Landing OwnReach::landing_at(const std::byte* memory) {
  static const auto find_range =
      find_in_driver<PFN_cuMemGetAddressRange_v3020>("cuMemGetAddressRange");
  static const auto find_attribute =
      find_in_driver<PFN_cuPointerGetAttribute_v4000>("cuPointerGetAttribute");
  const auto address = reinterpret_cast<CUdeviceptr>(memory);
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  driver_check(find_range(&base, &bytes, address), "finding a message's memory");
  unsigned long long number = 0;
  driver_check(find_attribute(&number, CU_POINTER_ATTRIBUTE_BUFFER_ID, address),
               "finding a message's memory");
  auto shared = std::ranges::find(shared_, number, &Shared::allocation);
  if (shared == shared_.end()) {
    cudaIpcMemHandle_t handle{};
    cuda_check(cudaIpcGetMemHandle(&handle, reinterpret_cast<void*>(base)),
               "sharing a message's memory with another rank");
    if (shared_.size() == kMostMapped) shared_.pop_front();
    shared_.push_back({number, handle});
    shared = shared_.end() - 1;
  }
  return {.allocation = number, .offset = address - base, .handle = shared->handle};
}

PeerReach::PeerReach(std::size_t peers, Drain drain) : drain_(std::move(drain)), mapped_(peers) {}

PeerReach::~PeerReach() {
  for (const std::deque<Mapped>& mapped : mapped_) {
    for (const Mapped& one : mapped) cudaIpcCloseMemHandle(one.memory);
  }
}

void PeerReach::leave(std::size_t peer, std::size_t count, const GoOn& go_on) {
  drain_(peer, go_on);
  for (std::size_t i = 0; i < count; ++i) {
    cuda_check(cudaIpcCloseMemHandle(mapped_[peer].front().memory), "leaving a peer's memory");
    mapped_[peer].pop_front();
  }
}

std::byte* PeerReach::at(std::size_t peer, const Landing& landing, const GoOn& go_on) {
  std::deque<Mapped>& mapped = mapped_[peer];
  const auto found = std::ranges::find(mapped, landing.allocation, &Mapped::allocation);
  if (found != mapped.end()) return found->memory + landing.offset;
  if (mapped.size() == kMostMapped) leave(peer, 1, go_on);
  void* memory = nullptr;
  cudaError_t opened =
      cudaIpcOpenMemHandle(&memory, landing.handle, cudaIpcMemLazyEnablePeerAccess);
  if (opened == cudaErrorAlreadyMapped && !mapped.empty()) {
    // A piece of memory can be mapped once, and this one is, for an allocation that is gone, or for
    // a small neighbour where ranks share a GPU.
    static_cast<void>(cudaGetLastError());
    leave(peer, mapped.size(), go_on);
    opened = cudaIpcOpenMemHandle(&memory, landing.handle, cudaIpcMemLazyEnablePeerAccess);
  }
  cuda_check(opened, "reaching the memory of a peer's message");
  mapped.push_back({landing.allocation, static_cast<std::byte*>(memory)});
  return mapped.back().memory + landing.offset;
}

}  // namespace longspan
