// The whole suite again, with messages cut into small pieces as only huge ones are otherwise.

#include "tests/comm/mpi/mpi_world.h"

namespace longspan::test {

MachineOptions machine_options() {
  return {.threads = 1, .hang_timeout = std::chrono::seconds(20), .largest_piece = 1000};
}

namespace {

INSTANTIATE_TEST_SUITE_P(InPieces, CommunicatorConformance, testing::Values(mpi_data_world()),
                         world_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorLossConformance);

}  // namespace
}  // namespace longspan::test
