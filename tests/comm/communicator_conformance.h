// What every Communicator promises, as one suite. An implementation instantiates it with a World:
// a way to run a body on all of its ranks.
//
// The suite of losses stands apart because a real transport is unusable afterwards: a program that
// instantiates it under mpirun has no other tests.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "comm/communicator.h"
#include "comm/cpu/cpu_device.h"

namespace longspan::test {

struct World {
  std::string name;
  std::function<void(const std::function<void(Communicator&)>&)> run;
  /// A rank's device, whose memory the messages lie in.
  std::function<std::unique_ptr<Device>()> new_device = []() -> std::unique_ptr<Device> {
    return std::make_unique<CpuDevice>(1);
  };
  bool takes_host_memory = true;  // so that the collectives of start-up work on it
};

inline void PrintTo(const World& world, std::ostream* out) { *out << world.name; }

inline std::string world_name(const testing::TestParamInfo<World>& info) { return info.param.name; }

class CommunicatorConformance : public testing::TestWithParam<World> {};
class CommunicatorLossConformance : public testing::TestWithParam<World> {};

}  // namespace longspan::test
