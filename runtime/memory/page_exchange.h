// Pages of the KV cache on their way between ranks.
//
// A page is one contiguous piece per layer, and each piece is a message: from the pool of one rank
// straight into that of the other. Both sides list the same pages in the same order.
#pragma once

#include <vector>

#include "comm/communicator.h"
#include "runtime/memory/kv_page_pool.h"

namespace longspan {

class PageExchange {
 public:
  explicit PageExchange(const KvPagePool& pool) : pool_(pool) {}

  /// All layers of page `slot` of this rank go to rank `to`, or come from rank `from`.
  void send(PageSlot slot, int to);
  void receive(PageSlot slot, int from);

  /// Enqueues the exchange, if there is any. Pages may be reused or read when `stream` is past it.
  void run(Stream& stream, Communicator& communicator);

 private:
  const KvPagePool& pool_;
  std::vector<Send> sends_;
  std::vector<Receive> receives_;
};

}  // namespace longspan
