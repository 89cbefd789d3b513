#include <gmock/gmock.h>

#include "comm/cpu/cpu_device.h"
#include "tests/comm/mpi/mpi_world.h"

namespace longspan::test {
namespace {

INSTANTIATE_TEST_SUITE_P(All, CommunicatorConformance,
                         testing::Values(mpi_data_world(), mpi_control_world()), world_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorLossConformance);

TEST(MpiMachineTest, AllRanksOfOneHostAreNamedInOrder) {
  std::vector<int> everybody(static_cast<std::size_t>(machine().size()));
  for (int rank = 0; rank < machine().size(); ++rank) {
    everybody[static_cast<std::size_t>(rank)] = rank;
  }
  EXPECT_EQ(machine().host_ranks(), everybody);
  EXPECT_EQ(machine().rank(), announced_rank());
  EXPECT_FALSE(machine().host().empty());
  EXPECT_FALSE(machine().abandoned());
}

TEST(MpiMachineTest, TheVersionIsShort) {
  EXPECT_THAT(mpi_library_version(), testing::Not(testing::IsEmpty()));
  EXPECT_THAT(mpi_library_version(), testing::Not(testing::HasSubstr(",")));
}

// One exchange at a time is on each stream, yet both are outstanding together: a control message
// never lands where a data message was expected.
TEST(MpiMachineTest, DataAndControlMessagesDoNotMix) {
  const int size = machine().size();
  const int next = (machine().rank() + 1) % size;
  const int previous = (machine().rank() + size - 1) % size;
  CpuStream data_stream(1);
  CpuStream control_stream(1);
  std::vector<int> data_in(1);
  std::vector<int> control_in(1);
  for (int round = 0; round < 50; ++round) {
    const std::vector<int> data_out{round * 2};
    const std::vector<int> control_out{round * 2 + 1};
    machine().control().exchange(control_stream, {{next, std::as_bytes(std::span(control_out))}},
                                 {{previous, std::as_writable_bytes(std::span(control_in))}});
    machine().data().exchange(data_stream, {{next, std::as_bytes(std::span(data_out))}},
                              {{previous, std::as_writable_bytes(std::span(data_in))}});
    data_stream.synchronize();
    control_stream.synchronize();
    EXPECT_EQ(data_in[0], round * 2);
    EXPECT_EQ(control_in[0], round * 2 + 1);
  }
}

}  // namespace
}  // namespace longspan::test
