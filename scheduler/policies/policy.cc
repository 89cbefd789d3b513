#include "scheduler/policies/policy.h"

#include <algorithm>
#include <stdexcept>

#include "scheduler/policies/chunked_prefill.h"
#include "scheduler/policies/replicas.h"
#include "scheduler/policies/static_sp.h"

namespace longspan {

int Policy::group_for(std::span<const GroupLoad> loads) const {
  const auto least = std::ranges::min_element(
      loads, {}, [](const GroupLoad& load) { return load.outstanding + load.added; });
  if (least == loads.end()) throw std::logic_error("a request goes to one of the groups");
  return least->group;
}

std::string_view name(PolicyKind policy) {
  switch (policy) {
    case PolicyKind::kStaticSp:
      return "static_sp";
    case PolicyKind::kReplicas:
      return "replicas";
    case PolicyKind::kChunkedPrefill:
      return "chunked_prefill";
  }
  return "?";
}

std::unique_ptr<Policy> make_policy(PolicyKind policy, int degree) {
  switch (policy) {
    case PolicyKind::kStaticSp:
      return std::make_unique<StaticSp>(degree);
    case PolicyKind::kReplicas:
      return std::make_unique<Replicas>();
    case PolicyKind::kChunkedPrefill:
      return std::make_unique<ChunkedPrefill>();
  }
  throw std::logic_error("a policy that has a name");
}

}  // namespace longspan
