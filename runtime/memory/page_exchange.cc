#include "runtime/memory/page_exchange.h"

#include <utility>

namespace longspan {

void PageExchange::send(PageSlot slot, int to) {
  for (int layer = 0; layer < pool_.shape().layers; ++layer) {
    sends_.push_back({to, piece(slot, layer)});
  }
}

void PageExchange::receive(PageSlot slot, int from) {
  for (int layer = 0; layer < pool_.shape().layers; ++layer) {
    receives_.push_back({from, piece(slot, layer)});
  }
}

void PageExchange::run(Stream& stream, Communicator& communicator) {
  if (sends_.empty() && receives_.empty()) return;
  communicator.exchange(stream, std::exchange(sends_, {}), std::exchange(receives_, {}));
}

std::span<std::byte> PageExchange::piece(PageSlot slot, int layer) const {
  const std::size_t bytes = pool_.shape().piece_bytes();  // V and scales lie right behind K
  return {static_cast<std::byte*>(pool_.layer(layer).k) + slot * bytes, bytes};
}

}  // namespace longspan
