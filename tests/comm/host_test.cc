#include "comm/host.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <initializer_list>
#include <vector>

#include "comm/host_memory.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

cpu_set_t cores(std::initializer_list<std::size_t> list) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const std::size_t core : list) CPU_SET(core, &set);
  return set;
}

TEST(FairThreadsTest, RanksThatRoamShareTheCores) {
  const std::vector all(3, cores({0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(fair_threads(all[0], all, std::nullopt), 2);
}

TEST(FairThreadsTest, BoundRanksKeepTheirOwnCores) {
  const std::vector all{cores({0, 1, 2}), cores({3, 4, 5}), cores({6, 7})};
  EXPECT_EQ(fair_threads(all[0], all, std::nullopt), 3);
  EXPECT_EQ(fair_threads(all[2], all, std::nullopt), 2);
}

TEST(FairThreadsTest, ThirdsAddUpToOne) {
  const std::vector all(3, cores({0, 1, 2}));
  EXPECT_EQ(fair_threads(all[0], all, std::nullopt), 1);
}

TEST(FairThreadsTest, AQuotaIsSharedByTheRanksAndOneThreadIsTheLeast) {
  const std::vector all(2, cores({0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(fair_threads(all[0], all, 6.0), 3);
  EXPECT_EQ(fair_threads(all[0], all, 0.5), 1);
  EXPECT_EQ(fair_threads(all[0], all, 64.0), 4);
}

/// A made-up /proc and /sys.
class LimitsTest : public testing::Test {
 protected:
  void SetUp() override { fs::remove_all(root_); }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  const fs::path root_ =
      fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(LimitsTest, WithoutControlGroupsThereIsNoLimit) {
  EXPECT_EQ(cpu_quota(root_), std::nullopt);
}

TEST_F(LimitsTest, TheTightestAncestorCounts) {
  write("proc/self/cgroup", "0::/job/step\n");
  write("sys/fs/cgroup/job/step/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/job/cpu.max", "250000 100000\n");
  write("sys/fs/cgroup/cpu.max", "400000 100000\n");
  EXPECT_EQ(cpu_quota(root_), 2.5);
}

TEST_F(LimitsTest, APathThatExistsOnlyOutsideTheContainerFallsBackToTheMountedTop) {
  write("proc/self/cgroup", "0::/docker/abc\n");
  write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  EXPECT_EQ(cpu_quota(root_), 1.5);
}

TEST_F(LimitsTest, VersionOneIsUnderstood) {
  write("proc/self/cgroup", "3:cpuset:/\n2:cpu,cpuacct:/job\n0::/\n");
  write("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "300000\n");
  write("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpu_quota(root_), 3.0);
}

constexpr std::int64_t kMiB = 1 << 20;

TEST_F(LimitsTest, WithoutControlGroupsMemoryIsWhatTheKernelHas) {
  write("proc/meminfo", "MemTotal:  4096 kB\nMemAvailable:  2048 kB\nBuffers: 7 kB\n");
  EXPECT_EQ(available_host_memory(root_), 2 * kMiB);
}

TEST_F(LimitsTest, AnAncestorMayLeaveLessMemoryThanTheOwnGroup) {
  write("proc/meminfo", "MemAvailable: 1048576 kB\n");
  write("proc/self/cgroup", "0::/job/step\n");
  write("sys/fs/cgroup/job/step/memory.max", "max\n");
  write("sys/fs/cgroup/job/step/memory.current", "1048576\n");
  write("sys/fs/cgroup/job/memory.max", "104857600\n");
  write("sys/fs/cgroup/job/memory.current", "62914560\n");
  write("sys/fs/cgroup/job/memory.stat", "anon 5\ninactive_file 10485760\nactive_file 3\n");
  EXPECT_EQ(available_host_memory(root_), (100 - 60 + 10) * kMiB);
}

TEST_F(LimitsTest, MemoryOfVersionOneIsUnderstood) {
  write("proc/meminfo", "MemAvailable: 1048576 kB\n");
  write("proc/self/cgroup", "4:memory:/job\n1:cpu:/\n");
  write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1048576\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "52428800\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "10485760\n");
  write("sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 5242880\n");
  EXPECT_EQ(available_host_memory(root_), (50 - 10 + 5) * kMiB);
}

TEST_F(LimitsTest, AGroupOverItsLimitLeavesNothing) {
  write("proc/meminfo", "MemAvailable: 1048576 kB\n");
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/memory.max", "1048576\n");
  write("sys/fs/cgroup/memory.current", "2097152\n");
  EXPECT_EQ(available_host_memory(root_), 0);
}

TEST_F(LimitsTest, ResidentMemoryIsTheSecondNumberInPages) {
  EXPECT_EQ(resident_host_memory(root_), 0);
  write("proc/self/statm", "500 20 10 1 0 400 0\n");
  EXPECT_EQ(resident_host_memory(root_), 20 * sysconf(_SC_PAGESIZE));
  EXPECT_GT(resident_host_memory(), 1 << 20);
}

TEST(HostTest, ThisProcessHasACoreAndANamedHost) {
  const cpu_set_t mine = allowed_cores();
  EXPECT_GE(CPU_COUNT(&mine), 1);
  EXPECT_FALSE(host_name().empty());
}

}  // namespace
}  // namespace longspan
