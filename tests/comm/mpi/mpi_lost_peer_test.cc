// A loss ends MPI for this process, so these are all tests of one program.

#include <gmock/gmock.h>

#include <chrono>

#include "comm/error.h"
#include "tests/comm/mpi/mpi_world.h"

namespace longspan::test {

MachineOptions machine_options() {
  return {.threads = 1, .hang_timeout = std::chrono::milliseconds(300)};
}

namespace {

void expect_that_nothing_is_begun_any_more() {
  EXPECT_TRUE(machine().abandoned());
  std::vector<std::byte> bytes(1);
  EXPECT_THROW(machine().control().transfer({}, {{0, bytes}}, Patience::forever()), CommError);
}

World losing_world() {
  return {"Mpi", [](const auto& body) {
            body(machine().data());
            expect_that_nothing_is_begun_any_more();
          }};
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorLossConformance, testing::Values(losing_world()),
                         world_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorConformance);

}  // namespace
}  // namespace longspan::test
