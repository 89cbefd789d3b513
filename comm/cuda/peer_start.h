// What the ranks of one host need when they begin to link their GPUs.
#pragma once

#include <cstddef>
#include <vector>

#include "comm/communicator.h"

namespace longspan {

/// Place of `peer` among the other ranks than `rank`, in order.
constexpr std::size_t place_among_peers(int rank, int peer) {
  return static_cast<std::size_t>(peer < rank ? peer : peer - 1);
}

/// Everybody's bytes, one after the other, on every rank. All bring as many.
std::vector<std::byte> gather_to_all(Communicator& control, const std::vector<std::byte>& own);

}  // namespace longspan
