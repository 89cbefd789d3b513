#include "scheduler/policies/chunked_prefill.h"

#include "scheduler/policies/static_sp.h"

namespace longspan {

std::vector<std::vector<int>> ChunkedPrefill::groups(int instances) const {
  return StaticSp(instances).groups(instances);
}

}  // namespace longspan
