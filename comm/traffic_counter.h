// Counts what an exchange moved, from any thread.
#pragma once

#include <atomic>

#include "comm/communicator.h"

namespace longspan {

class TrafficCounter {
 public:
  /// Adds a finished exchange; its lists hold no zero-length messages.
  void add(const std::vector<Send>& sends, const std::vector<Receive>& receives) {
    for (const Send& send : sends) sent_bytes_ += send.bytes.size();
    for (const Receive& receive : receives) received_bytes_ += receive.bytes.size();
    sent_messages_ += sends.size();
    received_messages_ += receives.size();
  }

  Traffic read() const {
    return {sent_bytes_, received_bytes_, sent_messages_, received_messages_};
  }

 private:
  std::atomic<std::uint64_t> sent_bytes_ = 0;
  std::atomic<std::uint64_t> received_bytes_ = 0;
  std::atomic<std::uint64_t> sent_messages_ = 0;
  std::atomic<std::uint64_t> received_messages_ = 0;
};

}  // namespace longspan
