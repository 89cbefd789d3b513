// A communicator whose exchanges start late and end late, by random amounts from a seed: what a
// missing wait() needs to show itself even without a sanitizer.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <random>
#include <vector>

#include "comm/communicator.h"

namespace longspan::test {

class DelayingCommunicator final : public Communicator {
 public:
  /// Borrows the communicator that moves the bytes. Delays lie between nothing and `longest`, and
  /// follow from the seed and the rank.
  DelayingCommunicator(Communicator& inner, std::uint64_t seed,
                       std::chrono::microseconds longest = std::chrono::milliseconds(2));

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) override;
  void transfer(std::vector<Send> sends, std::vector<Receive> receives, Patience patience) override;
  Traffic traffic() const override { return inner_.traffic(); }
  bool is_prompt() const override { return inner_.is_prompt(); }
  bool moves_beside_kernels() const override { return inner_.moves_beside_kernels(); }

 private:
  std::chrono::microseconds draw();

  Communicator& inner_;
  const std::chrono::microseconds longest_;
  std::mutex mutex_;
  std::mt19937_64 random_;
};

}  // namespace longspan::test
