// The conformance suites' World of GPUs: a rank under mpirun for each.
#pragma once

#include "comm/cuda/cuda_device.h"
#include "tests/comm/communicator_conformance.h"
#include "tests/support/mpi_machine.h"

namespace longspan::test {

inline World nccl_world() {
  return {.name = "Nccl",
          .run = [](const auto& body) { body(machine().data()); },
          .new_device = []() -> std::unique_ptr<Device> {
            const auto& own = dynamic_cast<CudaDevice&>(machine().device());
            return std::make_unique<CudaDevice>(own.ordinal());
          },
          .takes_host_memory = false};
}

}  // namespace longspan::test
