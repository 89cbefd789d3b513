// A communicator that keeps count per peer, and may forbid peers: for tests that hold an algorithm
// to its formula ("2 messages to each neighbour, none to anybody else").
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "comm/communicator.h"

namespace longspan::test {

class CountingCommunicator final : public Communicator {
 public:
  /// Borrows the communicator that moves the bytes.
  explicit CountingCommunicator(Communicator& inner) : inner_(inner) {}

  /// From now on an exchange that names `peer` throws std::logic_error. Zero-length messages do
  /// not count as naming it, for they are not sent.
  void forbid(int peer);
  /// What was enqueued to and from `peer` so far.
  Traffic with(int peer) const;
  /// Exchanges enqueued so far that moved anything.
  int exchanges() const;

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) override;
  void transfer(std::vector<Send> sends, std::vector<Receive> receives, Patience patience) override;
  Traffic traffic() const override { return inner_.traffic(); }
  bool is_prompt() const override { return inner_.is_prompt(); }
  bool moves_beside_kernels() const override { return inner_.moves_beside_kernels(); }

 private:
  void count(const std::vector<Send>& sends, const std::vector<Receive>& receives);
  Traffic& allowed(int peer);

  Communicator& inner_;
  mutable std::mutex mutex_;
  std::map<int, Traffic> by_peer_;
  std::set<int> forbidden_;
  int exchanges_ = 0;
};

}  // namespace longspan::test
