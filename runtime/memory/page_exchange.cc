#include "runtime/memory/page_exchange.h"

#include <utility>

namespace longspan {

void PageExchange::send(PageSlot slot, int to) {
  for (int layer = 0; layer < pool_.shape().layers; ++layer) {
    sends_.push_back({to, pool_.piece(slot, layer)});
  }
}

void PageExchange::receive(PageSlot slot, int from) {
  for (int layer = 0; layer < pool_.shape().layers; ++layer) {
    receives_.push_back({from, pool_.piece(slot, layer)});
  }
}

void PageExchange::run(Stream& stream, Communicator& communicator) {
  if (sends_.empty() && receives_.empty()) return;
  communicator.exchange(stream, std::exchange(sends_, {}), std::exchange(receives_, {}));
}

}  // namespace longspan
