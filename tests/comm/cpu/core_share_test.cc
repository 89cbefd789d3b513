#include "comm/cpu/core_share.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>

#include "comm/cpu/cpu_device.h"
#include "comm/str.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

cpu_set_t set_of(std::string_view list) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : parse_cpu_list(list)) CPU_SET(static_cast<std::size_t>(cpu), &set);
  return set;
}

/// A made-up /sys: cores with their hardware threads, node by node.
class CoreShareTest : public testing::Test {
 protected:
  void SetUp() override { fs::remove_all(root_); }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << '\n';
  }
  void add_core(const std::string& siblings) {
    for (int cpu : parse_cpu_list(siblings)) {
      write(str("sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu), siblings);
    }
  }
  void add_node(int node, const std::string& cpus) {
    write(str("sys/devices/system/node/node{}/cpulist", node), cpus);
  }
  /// Two nodes of four cores; the second threads are numbered behind all first ones.
  void two_nodes_of_four_cores() {
    for (int core = 0; core < 8; ++core) add_core(str("{},{}", core, core + 8));
    add_node(0, "0-3,8-11");
    add_node(1, "4-7,12-15");
  }
  /// Compute and node sets of each rank, all free to run on `allowed`.
  std::vector<std::string> shares(std::string_view allowed, int ranks, int threads) {
    const std::vector<PhysicalCore> cores = physical_cores(set_of(allowed), root_);
    std::vector<std::string> lists;
    for (int rank = 0; rank < ranks; ++rank) {
      const auto share = share_of_cores(cores, rank, ranks, threads);
      if (!share) return {};
      lists.push_back(cpu_list(share->compute) + " on " + cpu_list(share->nodes));
    }
    return lists;
  }
  Placement place(const std::vector<cpu_set_t>& all, int threads, Binding wish = Binding::kAuto,
                  std::optional<double> quota = std::nullopt, bool openmp = false) {
    return place_rank(wish, all, 1, threads, quota, openmp, root_);
  }

  const fs::path root_ =
      fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST(CpuListTest, ListsAreReadAndWrittenAsTheKernelDoes) {
  EXPECT_THAT(parse_cpu_list("0-2,5,7-8"), ElementsAre(0, 1, 2, 5, 7, 8));
  for (const char* text : {"", "a", "3-", "3-1", "-1", "1,,2", "0-99999999", "1 2"}) {
    EXPECT_THAT(parse_cpu_list(text), testing::IsEmpty()) << text;
  }
  for (const char* text : {"0", "0-3", "0,2-3,9", "1023"}) EXPECT_EQ(cpu_list(set_of(text)), text);
  EXPECT_EQ(cpu_list(set_of("")), "");
}

TEST_F(CoreShareTest, CoresAreTheirAllowedThreadsNodeByNode) {
  add_core("0,4");
  add_core("1,5");
  add_core("2,6");
  add_core("3,7");
  add_node(0, "1,3,5,7");
  add_node(1, "0,2,4,6");
  const auto cores = physical_cores(set_of("0-3,5"), root_);
  EXPECT_THAT(cores, ElementsAre(PhysicalCore{0, {1, 5}}, PhysicalCore{0, {3}},
                                 PhysicalCore{1, {0}}, PhysicalCore{1, {2}}));
}

TEST_F(CoreShareTest, WhereTheKernelSaysNothingThereAreNoCores) {
  EXPECT_TRUE(physical_cores(set_of("0-3"), root_).empty());
  add_core("0");
  EXPECT_TRUE(physical_cores(set_of("0-1"), root_).empty());
  EXPECT_EQ(physical_cores(set_of("0"), root_).size(), 1U);
}

TEST_F(CoreShareTest, AThreadACoreBeforeTheSecondThreads) {
  two_nodes_of_four_cores();
  EXPECT_THAT(shares("0-15", 2, 4), ElementsAre("0-3 on 0-3,8-11", "4-7 on 4-7,12-15"));
  EXPECT_THAT(shares("0-15", 2, 5), ElementsAre("0-3,8-11 on 0-3,8-11", "4-7,12-15 on 4-7,12-15"));
  EXPECT_THAT(shares("0-15", 4, 2), ElementsAre("0-1 on 0-3,8-11", "2-3 on 0-3,8-11",
                                                "4-5 on 4-7,12-15", "6-7 on 4-7,12-15"));
}

TEST_F(CoreShareTest, RanksStayOnANodeIfTheyFit) {
  two_nodes_of_four_cores();
  EXPECT_THAT(shares("0-15", 3, 2),
              ElementsAre("0-1 on 0-3,8-11", "2-3 on 0-3,8-11", "4-7 on 4-7,12-15"));
  // The second node alone is too small.
  EXPECT_THAT(shares("0-5", 2, 3), ElementsAre("0-2 on 0-3", "3-5 on 0-5"));
  EXPECT_THAT(shares("0-15", 1, 8), ElementsAre("0-7 on 0-15"));
}

// Eight cores for three ranks are two for one of them: its four threads would share them in pairs,
// while the others' had three.
TEST_F(CoreShareTest, ThreadsThatWouldShareCoresUnevenlyAreLeftAlone) {
  two_nodes_of_four_cores();
  EXPECT_TRUE(shares("0-15", 3, 4).empty());
  EXPECT_TRUE(shares("0-15", 3, 3).empty());
  EXPECT_EQ(shares("0-15", 3, 2).size(), 3U);
  EXPECT_EQ(shares("0-15", 4, 4).size(), 4U);
}

TEST_F(CoreShareTest, EveryDivisionIsDisjointAndLeavesNoCoreOut) {
  two_nodes_of_four_cores();
  for (int ranks = 1; ranks <= 8; ++ranks) {
    const auto cores = physical_cores(set_of("0-7"), root_);
    cpu_set_t all = set_of("");
    int count = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const auto share = share_of_cores(cores, rank, ranks, 1);
      ASSERT_TRUE(share);
      EXPECT_GE(CPU_COUNT(&share->compute), 1);
      CPU_OR(&all, &all, &share->compute);
      count += CPU_COUNT(&share->compute);
    }
    EXPECT_EQ(count, 8) << ranks;
    EXPECT_EQ(cpu_list(all), "0-7") << ranks;
  }
}

TEST_F(CoreShareTest, MoreRanksThanCoresAreLeftAlone) {
  two_nodes_of_four_cores();
  EXPECT_TRUE(shares("0-15", 9, 1).empty());
  EXPECT_EQ(shares("0-15", 8, 1).size(), 8U);
  EXPECT_TRUE(shares("0-15", 8, 3).empty());
  EXPECT_TRUE(shares("0-1", 3, 1).empty());
}

TEST_F(CoreShareTest, ARankIsPlacedOnlyWhereNobodyElseDoes) {
  two_nodes_of_four_cores();
  const std::vector roaming(2, set_of("0-15"));
  const Placement placed = place(roaming, 4);
  ASSERT_TRUE(placed.share);
  EXPECT_EQ(cpu_list(*placed.compute()), "4-7");
  EXPECT_EQ(placed.text, "compute threads, 4 a stream, keep to cpus 4-7, others to 4-7,12-15");

  const auto why = [](const Placement& placement) {
    EXPECT_FALSE(placement.share);
    EXPECT_FALSE(placement.compute());
    return placement.text;
  };
  EXPECT_THAT(why(place(roaming, 4, Binding::kNone)), HasSubstr("--bind none"));
  EXPECT_THAT(why(place({set_of("0-3"), set_of("4-7")}, 4)), HasSubstr("launcher"));
  EXPECT_THAT(why(place(roaming, 4, Binding::kAuto, 8.0)), HasSubstr("control groups"));
  EXPECT_TRUE(place(roaming, 4, Binding::kAuto, 16.0).share);
  EXPECT_THAT(why(place(roaming, 4, Binding::kAuto, std::nullopt, true)), HasSubstr("OpenMP"));
  EXPECT_THAT(why(place(roaming, 9)), HasSubstr("do not divide"));
  EXPECT_THAT(why(place(std::vector(9, set_of("0-15")), 1)), HasSubstr("do not divide"));
  const std::vector alone{set_of("0-15")};
  EXPECT_THAT(why(place_rank(Binding::kAuto, alone, 0, 4, std::nullopt, false, root_)),
              HasSubstr("alone"));
}

TEST(StreamPlacementTest, AStreamAndItsTeamRunWhereTheyAreKept) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer cannot see how OpenMP's own threads wait for one another";
#endif
  const cpu_set_t before = [] {
    cpu_set_t set;
    sched_getaffinity(0, sizeof(set), &set);
    return set;
  }();
  cpu_set_t one = set_of("");
  for (int cpu = CPU_SETSIZE - 1; CPU_COUNT(&one) == 0 && cpu >= 0; --cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &before)) {
      CPU_SET(static_cast<std::size_t>(cpu), &one);
    }
  }
  CpuDevice device(2, one);
  const auto stream = device.new_stream();
  std::string of_stream;
  std::vector<std::string> of_team(2);
  stream->call([&] {
    const auto here = [] {
      cpu_set_t set;
      sched_getaffinity(0, sizeof(set), &set);
      return cpu_list(set);
    };
    of_stream = here();
#pragma omp parallel for num_threads(2) schedule(static, 1)
    for (int i = 0; i < 2; ++i) of_team[static_cast<std::size_t>(i)] = here();
  });
  stream->synchronize();
  EXPECT_EQ(of_stream, cpu_list(one));
  EXPECT_THAT(of_team, testing::Each(cpu_list(one)));
  cpu_set_t after;
  sched_getaffinity(0, sizeof(after), &after);
  EXPECT_TRUE(CPU_EQUAL(&after, &before)) << "the caller is not bound";
}

}  // namespace
}  // namespace longspan
