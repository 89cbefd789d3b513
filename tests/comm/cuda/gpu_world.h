// The conformance suites' World of GPUs: a rank under mpirun for each.
#pragma once

#include <string>

#include "comm/cuda/cuda_device.h"
#include "tests/comm/communicator_conformance.h"
#include "tests/support/mpi_machine.h"

namespace longspan::test {

inline World gpu_world(const std::string& name) {
  return {.name = name,
          .run = [](const auto& body) { body(machine().data()); },
          .new_device = []() -> std::unique_ptr<Device> {
            const auto& own = dynamic_cast<CudaDevice&>(machine().device());
            return std::make_unique<CudaDevice>(own.ordinal());
          },
          .takes_host_memory = false};
}

/// For the suite of losses, whose body no exchange may follow.
inline World losing_gpu_world(const std::string& name) {
  World world = gpu_world(name);
  world.run = [](const auto& body) {
    Communicator& comm = machine().data();
    if (comm.size() == 1) return;
    body(comm);
    const Buffer in = machine().device().allocate(4);
    EXPECT_THROW(
        comm.transfer({}, {{(comm.rank() + 1) % comm.size(), in.bytes()}}, Patience::forever()),
        CommError);
  };
  return world;
}

}  // namespace longspan::test
