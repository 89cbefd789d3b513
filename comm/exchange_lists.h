// What every communicator does with the lists of an exchange before it looks at the bytes.
#pragma once

#include <algorithm>
#include <vector>

#include "comm/communicator.h"
#include "comm/error.h"

namespace longspan {

inline void expect_known_peers(const std::vector<Send>& sends, const std::vector<Receive>& receives,
                               int size) {
  const auto known = [size](const auto& message) {
    return message.peer >= 0 && message.peer < size;
  };
  expects(std::ranges::all_of(sends, known) && std::ranges::all_of(receives, known),
          "a peer is a rank of the communicator");
}

/// Both sides know the sizes, so nothing travels for a message without bytes.
inline void drop_empty_messages(std::vector<Send>& sends, std::vector<Receive>& receives) {
  const auto is_empty = [](const auto& message) { return message.bytes.empty(); };
  std::erase_if(sends, is_empty);
  std::erase_if(receives, is_empty);
}

/// What the lists move, once the empty messages are dropped.
inline Traffic traffic_of(const std::vector<Send>& sends, const std::vector<Receive>& receives) {
  Traffic moved{.sent_messages = sends.size(), .received_messages = receives.size()};
  for (const Send& send : sends) moved.sent_bytes += send.bytes.size();
  for (const Receive& receive : receives) moved.received_bytes += receive.bytes.size();
  return moved;
}

}  // namespace longspan
