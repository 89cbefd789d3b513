// Which mask each layer of a model attends under. Layers share few masks, and what a step prepares
// for one mask serves all its layers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/mask.h"

namespace longspan {

class LayerMasks {
 public:
  /// Every layer has the same.
  explicit LayerMasks(const Mask& everywhere) : distinct_{everywhere} {}
  /// Those of layers 0, 1, ... in turn; the layers after the last begin again with the first.
  explicit LayerMasks(const std::vector<Mask>& cycle) {
    expects(!cycle.empty(), "a layer has a mask");
    cycle_.clear();
    for (const Mask& mask : cycle) {
      const auto known = std::ranges::find(distinct_, mask);
      cycle_.push_back(static_cast<int>(known - distinct_.begin()));
      if (known == distinct_.end()) distinct_.push_back(mask);
    }
  }

  /// Each mask once, in order of first use.
  std::span<const Mask> distinct() const { return distinct_; }
  /// Which of the distinct masks is that of `layer`.
  int index(int layer) const { return cycle_[layer % cycle_.size()]; }

 private:
  std::vector<Mask> distinct_;
  std::vector<int> cycle_{0};
};

}  // namespace longspan
