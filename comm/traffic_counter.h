// Counts what an exchange moved, from any thread.
#pragma once

#include <atomic>

#include "comm/communicator.h"

namespace longspan {

class TrafficCounter {
 public:
  void add(const Traffic& moved) {
    sent_bytes_ += moved.sent_bytes;
    received_bytes_ += moved.received_bytes;
    sent_messages_ += moved.sent_messages;
    received_messages_ += moved.received_messages;
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
