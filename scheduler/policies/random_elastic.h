// Draws everything that may change, at every border: for tests, which then see each request take
// another way through the ranks, and must see the tokens that one rank gives. It is no good to
// anybody who wants answers soon.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "scheduler/policies/step_policy.h"

namespace longspan {

class RandomElastic final : public StepPolicy {
 public:
  /// The same seed and the same borders give the same steps, on any machine.
  explicit RandomElastic(std::uint64_t seed) : random_(seed) {}

  /// One full page at every other border, to any rank.
  std::vector<WantedMove> moves(const StepBorder& border) override;
  /// In turn: as they are, over some ranks in turn, on some one after the other, or each anywhere.
  std::optional<std::vector<int>> owners(const StepBorder& border) override;
  /// Any number of ranks in any order.
  std::vector<int> group(const StepBorder& border) override;

 private:
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(bound));
  }
  std::vector<int> some_of(std::span<const int> ranks);

  std::mt19937_64 random_;
};

}  // namespace longspan
