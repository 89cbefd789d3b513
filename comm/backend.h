// What computes on a rank, and what carries its exchanges.
#pragma once

#include <string_view>

namespace longspan {

enum class Backend { kCpu, kCuda };

constexpr std::string_view name(Backend backend) {
  return backend == Backend::kCuda ? "cuda" : "cpu";
}

/// Between GPUs. Without effect on CPUs.
enum class GpuLink {
  kNccl,
  kPeer,  // memory that the GPUs of one host share: see comm/cuda/peer_communicator.h
};

constexpr std::string_view name(GpuLink link) { return link == GpuLink::kPeer ? "peer" : "nccl"; }

}  // namespace longspan
