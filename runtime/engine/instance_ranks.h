// Which ranks are an instance: with `tp` ranks each, instance i begins at rank i * tp, and the t-th
// rank from there holds part t of the model. Neighbouring ranks are mostly on one host, and those
// of an instance talk in every layer.
//
//              part 0   part 1   part 2
//   instance 0    0        1        2       across: sums, at every layer
//   instance 1    3        4        5       down: the rings and decode groups of each part
//
// Plans name instances; a rank alone in its instance is one.
#pragma once

#include <vector>

#include "comm/error.h"

namespace longspan {

class InstanceRanks {
 public:
  explicit InstanceRanks(int tp) : tp_(tp) { expects(tp >= 1, "an instance has a rank"); }

  int tp() const { return tp_; }
  int instance_of(int rank) const { return rank / tp_; }
  int part_of(int rank) const { return rank % tp_; }
  int rank_of(int instance, int part) const { return instance * tp_ + part; }

  /// All ranks of the instances, instance by instance.
  std::vector<int> all(const std::vector<int>& instances) const {
    std::vector<int> ranks;
    for (int instance : instances) {
      for (int part = 0; part < tp_; ++part) ranks.push_back(rank_of(instance, part));
    }
    return ranks;
  }
  /// Of each instance the rank that holds `part`.
  std::vector<int> with_part(const std::vector<int>& instances, int part) const {
    std::vector<int> ranks;
    for (int instance : instances) ranks.push_back(rank_of(instance, part));
    return ranks;
  }

 private:
  int tp_;
};

}  // namespace longspan
