// The conformance suites' World of a process under mpirun: this process is one of its ranks.
#pragma once

#include "tests/comm/communicator_conformance.h"
#include "tests/support/mpi_machine.h"

namespace longspan::test {

inline World mpi_data_world() {
  return {"MpiData", [](const auto& body) { body(machine().data()); }};
}

inline World mpi_control_world() {
  return {"MpiControl", [](const auto& body) { body(machine().control()); }};
}

}  // namespace longspan::test
