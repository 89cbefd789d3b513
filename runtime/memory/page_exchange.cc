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
  const KvView view = pool_.layer(layer);  // K of the page, and V right behind it
  const auto values = static_cast<std::size_t>(pool_.shape().piece_values());
  return std::as_writable_bytes(std::span(view.k + slot * view.page_stride, values));
}

}  // namespace longspan
