#include "comm/cuda/peer_parts.h"

#include <algorithm>
#include <tuple>

#include "comm/error.h"

namespace longspan {
namespace {

/// Numbers of parts, by peer.
struct PartCounts {
  std::uint16_t sent[kMostPeers] = {}, received[kMostPeers] = {};

  std::uint16_t& of(const PeerPart& part) {
    return part.sends ? sent[part.peer] : received[part.peer];
  }
};

template <int kMost>
void launch(CudaStream& stream, std::span<const PeerPart> parts, std::span<const PeerLanes> lanes,
            const PartCounts& counts, const PeerWords& words) {
  PeerOrder<kMost> order;
  order.words = words;
  order.peers = static_cast<std::int32_t>(lanes.size());
  order.count = static_cast<std::int32_t>(parts.size());
  std::ranges::copy(lanes, order.lanes);
  std::ranges::copy(counts.sent, order.sent);
  std::ranges::copy(counts.received, order.received);
  std::ranges::copy(parts, order.parts);
  stream.launch<launch_order<kMost>>(order);
}

}  // namespace

std::uint64_t move_parts(CudaStream& stream, std::vector<PeerPart> parts,
                         std::span<const PeerLanes> lanes, const PeerWords& words) {
  expects(lanes.size() <= kMostPeers, "a GPU has a few peers");
  std::ranges::sort(parts, {}, [](const PeerPart& part) {
    return std::tuple(part.place, !part.sends, part.peer);
  });
  // Orders of any length are whole parts of one list, so what is said of a kernel is true of them.
  constexpr std::size_t kFew = 8, kSome = 64, kMany = 512;
  std::uint64_t kernels = 0;
  PartCounts before;  // by earlier kernels
  for (std::span<PeerPart> left(parts); !left.empty(); ++kernels) {
    const auto now = left.first(std::min(left.size(), kMany));
    left = left.subspan(now.size());
    PartCounts counts;
    for (PeerPart& part : now) {
      part.place = static_cast<std::uint16_t>(part.place - before.of(part));
      ++counts.of(part);
    }
    const auto go = now.size() <= kFew    ? launch<kFew>
                    : now.size() <= kSome ? launch<kSome>
                                          : launch<kMany>;
    go(stream, now, lanes, counts, words);
    for (const PeerPart& part : now) ++before.of(part);
  }
  return kernels;
}

}  // namespace longspan
