#include "comm/agreement.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

namespace longspan {

std::int64_t minimum(Communicator& control, std::int64_t value) {
  std::vector<std::byte> bytes(sizeof(value));
  std::int64_t least = value;
  for (const auto& other :
       gather(control, std::as_bytes(std::span(&value, 1)), 0, Patience::forever())) {
    std::int64_t theirs = 0;
    std::memcpy(&theirs, other.data(), sizeof(theirs));
    least = std::min(least, theirs);
  }
  std::memcpy(bytes.data(), &least, sizeof(least));
  broadcast(control, bytes, 0, Patience::forever());
  std::memcpy(&least, bytes.data(), sizeof(least));
  return least;
}

}  // namespace longspan
