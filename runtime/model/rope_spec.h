// How a model turns queries and keys by their position, as its file declares it: the base, how many
// dimensions of a head, and the rule that stretches the angles over a longer context.
//
// A rule may choose frequencies by the length of the sequence. Keys are stored turned, so that
// length is fixed when a sequence starts: prompt and all tokens that may be generated.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/error.h"

namespace longspan {

enum class RopeScaling {
  kNone,
  kLinear,    // positions divided by the factor
  kDynamic,   // a base that grows with the length (dynamic NTK)
  kYarn,      // slow dimensions as linear, fast ones as they are (arXiv 2309.00071)
  kLlama3,    // the same idea with other bounds
  kLongRope,  // a divisor per dimension, another set of them for long sequences (arXiv 2402.13753)
};

struct RopeSpec {
  double base = 10000;
  int rotated = 0;  // dimensions of a head, the first ones; even. 0: all
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  double attention_factor = 1;        // cosines and sines are multiplied by it
  std::int64_t original_context = 0;  // that the model was trained on before it was stretched
  double fast_turns = 0;              // in that context: YaRN leaves faster dimensions as they are
  double slow_turns = 0;              // and divides slower ones by the factor. Llama 3 likewise
  bool whole_bounds = true;           // YaRN: between whole dimensions
  std::vector<double> short_divisors = {};  // LongRoPE: one per pair of dimensions
  std::vector<double> long_divisors = {};   // of sequences longer than original_context
  bool float32_angles = false;  // as transformers computes them, instead of exact: see rope.h

  bool depends_on_length() const {
    return scaling == RopeScaling::kDynamic || scaling == RopeScaling::kLongRope;
  }
  friend bool operator==(const RopeSpec&, const RopeSpec&) = default;
};

/// "base 10000, YaRN by 4 from 32768 tokens", for people.
std::string describe(const RopeSpec& spec);

/// Which rule turns each layer. Layers share few, and a step's angles are computed once per rule.
class LayerRopes {
 public:
  explicit LayerRopes(RopeSpec everywhere) : distinct_{std::move(everywhere)} {}
  /// Those of layers 0, 1, ...
  explicit LayerRopes(const std::vector<RopeSpec>& of_layers) {
    expects(!of_layers.empty(), "a layer has a rule");
    of_layer_.clear();
    for (const RopeSpec& spec : of_layers) {
      const auto known = std::ranges::find(distinct_, spec);
      of_layer_.push_back(static_cast<int>(known - distinct_.begin()));
      if (known == distinct_.end()) distinct_.push_back(spec);
    }
  }

  /// Each once, in order of first use.
  const std::vector<RopeSpec>& distinct() const { return distinct_; }
  /// Which of the distinct ones turns `layer`.
  int index(int layer) const { return of_layer_[layer % of_layer_.size()]; }
  bool depend_on_length() const {
    return std::ranges::any_of(distinct_, &RopeSpec::depends_on_length);
  }
  /// From now on angles are computed in float32.
  void use_float32_angles() {
    for (RopeSpec& spec : distinct_) spec.float32_angles = true;
  }

 private:
  std::vector<RopeSpec> distinct_;
  std::vector<int> of_layer_{0};
};

}  // namespace longspan
