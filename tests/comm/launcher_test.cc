#include "comm/launcher.h"

#include <gmock/gmock.h>

#include <map>

#include "comm/error.h"
#include "comm/machine.h"

namespace longspan {
namespace {

Launcher launcher_of(const std::map<std::string, std::string>& variables) {
  return find_launcher([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

TEST(LauncherTest, WithoutOneThereIsOneRank) {
  const Launcher launcher = launcher_of({});
  EXPECT_FALSE(launcher.connects);
  EXPECT_NO_THROW(require_connection(launcher, std::nullopt));
}

TEST(LauncherTest, MpirunAnnouncesRankAndSize) {
  const Launcher launcher =
      launcher_of({{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "3"}});
  EXPECT_TRUE(launcher.connects);
  EXPECT_EQ(launcher.rank, 3);
  EXPECT_EQ(launcher.tasks, 4);
  EXPECT_NO_THROW(require_connection(launcher, std::nullopt));
  EXPECT_NO_THROW(require_connection(launcher, 4));
}

TEST(LauncherTest, MpirunOfAnotherMpiIsRefusedOnceMpiSeesOneRankOnly) {
  const Launcher launcher =
      launcher_of({{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "3"}});
  EXPECT_THROW(require_connection(launcher, 1), ConfigError);
}

TEST(LauncherTest, SrunWithPmixConnects) {
  const Launcher launcher =
      launcher_of({{"SLURM_STEP_NUM_TASKS", "2"}, {"SLURM_PROCID", "1"}, {"PMIX_RANK", "1"}});
  EXPECT_TRUE(launcher.connects);
  EXPECT_EQ(launcher.rank, 1);
  EXPECT_NO_THROW(require_connection(launcher, 2));
  EXPECT_THROW(require_connection(launcher, 1), ConfigError);
}

TEST(LauncherTest, SrunWithoutPmiIsRefusedWithTheFix) {
  const Launcher launcher = launcher_of({{"SLURM_STEP_NUM_TASKS", "2"}, {"SLURM_PROCID", "1"}});
  EXPECT_EQ(launcher.rank, 1);
  try {
    require_connection(launcher, std::nullopt);
    ADD_FAILURE() << "two tasks that cannot find each other went on";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("2 tasks"));
    EXPECT_THAT(error.what(), testing::HasSubstr("--mpi=pmix"));
  }
}

TEST(LauncherTest, AShellInsideAnAllocationIsOneRank) {
  const Launcher launcher =
      launcher_of({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}});
  EXPECT_FALSE(launcher.connects);
  EXPECT_NO_THROW(require_connection(launcher, std::nullopt));
}

TEST(LauncherTest, AnInteractiveStepIsOneRank) {
  const Launcher launcher = launcher_of(
      {{"SLURM_NTASKS", "8"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_STEP_ID", "4294967290"}});
  EXPECT_NO_THROW(require_connection(launcher, std::nullopt));
}

TEST(LauncherTest, MpirunInsideAStepOfSeveralTasksCountsForItself) {
  const Launcher launcher = launcher_of({{"SLURM_STEP_NUM_TASKS", "4"},
                                         {"OMPI_COMM_WORLD_SIZE", "1"},
                                         {"OMPI_COMM_WORLD_RANK", "0"}});
  EXPECT_NO_THROW(require_connection(launcher, 1));
}

TEST(LauncherTest, NonsenseInTheEnvironmentIsNoLauncher) {
  EXPECT_FALSE(launcher_of({{"OMPI_COMM_WORLD_SIZE", "many"}}).connects);
  EXPECT_FALSE(launcher_of({{"PMIX_RANK", "-1"}}).connects);
}

TEST(MachineTest, WithoutALauncherItIsOneRankWithoutMpi) {
  const auto machine = Machine::open({});
  EXPECT_EQ(machine->rank(), 0);
  EXPECT_EQ(machine->size(), 1);
  EXPECT_EQ(machine->host_ranks(), std::vector{0});
  EXPECT_GE(machine->threads(), 1);
  EXPECT_FALSE(machine->abandoned());
  EXPECT_EQ(Machine::open({.threads = 3})->threads(), 3);
}

TEST(MachineTest, LeavingNowFlushesAndKeepsTheCode) {
  EXPECT_EXIT(
      {
        std::fputs("the reason", stderr);
        leave_now(ExitCode::kTemporary);
      },
      testing::ExitedWithCode(75), "the reason");
}

}  // namespace
}  // namespace longspan
