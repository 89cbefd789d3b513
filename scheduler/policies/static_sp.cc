#include "scheduler/policies/static_sp.h"

#include <numeric>
#include <stdexcept>

namespace longspan {

std::vector<std::vector<int>> StaticSp::groups(int instances) const {
  if (degree_ < 1 || degree_ > instances) throw std::logic_error("there are instances for a group");
  std::vector<std::vector<int>> groups;
  for (int first = 0; first + degree_ <= instances; first += degree_) {
    groups.emplace_back(degree_);
    std::iota(groups.back().begin(), groups.back().end(), first);
  }
  return groups;
}

}  // namespace longspan
