#include "tests/support/counting_communicator.h"

#include "comm/error.h"
#include "comm/str.h"

namespace longspan::test {

void CountingCommunicator::forbid(int peer) {
  const std::lock_guard lock(mutex_);
  forbidden_.insert(peer);
}

Traffic CountingCommunicator::with(int peer) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_peer_.find(peer);
  return found == by_peer_.end() ? Traffic{} : found->second;
}

int CountingCommunicator::exchanges() const {
  const std::lock_guard lock(mutex_);
  return exchanges_;
}

void CountingCommunicator::exchange(Stream& stream, std::vector<Send> sends,
                                    std::vector<Receive> receives) {
  count(sends, receives);
  inner_.exchange(stream, std::move(sends), std::move(receives));
}

void CountingCommunicator::transfer(std::vector<Send> sends, std::vector<Receive> receives,
                                    Patience patience) {
  count(sends, receives);
  inner_.transfer(std::move(sends), std::move(receives), patience);
}

void CountingCommunicator::count(const std::vector<Send>& sends,
                                 const std::vector<Receive>& receives) {
  const std::lock_guard lock(mutex_);
  bool moves = false;
  for (const Send& send : sends) {
    if (send.bytes.empty()) continue;
    Traffic& traffic = allowed(send.peer);
    traffic.sent_bytes += send.bytes.size();
    ++traffic.sent_messages;
    moves = true;
  }
  for (const Receive& receive : receives) {
    if (receive.bytes.empty()) continue;
    Traffic& traffic = allowed(receive.peer);
    traffic.received_bytes += receive.bytes.size();
    ++traffic.received_messages;
    moves = true;
  }
  if (moves) ++exchanges_;
}

Traffic& CountingCommunicator::allowed(int peer) {
  expects(!forbidden_.contains(peer),
          str("rank {} has nothing to say to rank {} here", rank(), peer));
  return by_peer_[peer];
}

}  // namespace longspan::test
