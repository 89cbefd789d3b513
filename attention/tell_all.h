// Small arrays of doubles that every rank of a group tells every other.
#pragma once

#include <span>
#include <vector>

#include "comm/device.h"
#include "comm/group.h"

namespace longspan {

/// said[j] is what rank j says: this rank's is sent, the others' land there. Every rank knows all
/// sizes; what is empty is no message.
inline void tell_all(Stream& stream, const Group& group, std::span<const std::span<double>> said) {
  std::vector<Send> sends;
  std::vector<Receive> receives;
  const auto bytes = [&](int j) { return std::as_writable_bytes(said[j]); };
  for (int j = 0; j < group.size(); ++j) {
    if (j == group.rank()) continue;
    sends.push_back({j, bytes(group.rank())});
    receives.push_back({j, bytes(j)});
  }
  group.exchange(stream, std::move(sends), std::move(receives));
}

}  // namespace longspan
