// Every instance by itself: no request is longer than the pool of one, and none waits for a peer.
#pragma once

#include "scheduler/policies/static_sp.h"

namespace longspan {

class Replicas final : public StaticSp {
 public:
  Replicas() : StaticSp(1) {}
};

}  // namespace longspan
