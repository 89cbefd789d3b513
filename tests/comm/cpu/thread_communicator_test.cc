#include "comm/cpu/thread_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>

#include <chrono>
#include <thread>

#include "comm/error.h"
#include "tests/comm/communicator_conformance.h"
#include "tests/support/delaying_communicator.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using namespace std::chrono_literals;

std::string failure_of(const std::function<void()>& body) {
  try {
    body();
    return "";
  } catch (const CommError& error) {
    return error.what();
  }
}

TEST(ThreadCommunicatorTest, ASendIsDoneOnlyWhenTheReceiverHasCopied) {
  std::atomic<bool> receiving = false;
  test::run_ranks(2, [&](Communicator& comm) {
    std::vector<std::byte> bytes(64);
    if (comm.rank() == 0) {
      comm.transfer({{1, bytes}}, {}, {});
      EXPECT_TRUE(receiving);
    } else {
      std::this_thread::sleep_for(20ms);
      receiving = true;
      comm.transfer({}, {{0, bytes}}, {});
    }
  });
}

TEST(ThreadCommunicatorTest, UnequalSizesFailBothRanksAndNameBothSizes) {
  test::run_ranks(2, [](Communicator& comm) {
    std::vector<std::byte> bytes(comm.rank() == 0 ? 10 : 12);
    const std::string failure = failure_of([&] {
      if (comm.rank() == 0) comm.transfer({{1, bytes}}, {}, {});
      if (comm.rank() == 1) comm.transfer({}, {{0, bytes}}, {});
    });
    EXPECT_THAT(failure, testing::AllOf(testing::HasSubstr("sent 10 bytes"),
                                        testing::HasSubstr("expected 12 bytes")));
  });
}

TEST(ThreadCommunicatorTest, TheDeadlineNamesRankPeersBytesAndSeconds) {
  ThreadWorld world(3);
  std::vector<std::byte> bytes(100);
  const std::string failure =
      failure_of([&] { world.rank(0).transfer({{1, bytes}}, {{2, bytes}}, {.deadline = 50ms}); });
  EXPECT_THAT(failure, testing::AllOf(testing::HasSubstr("rank 0"), testing::HasSubstr("0.050 s"),
                                      testing::HasSubstr("rank 1 did not take 100 bytes"),
                                      testing::HasSubstr("no word from rank 2 (100 bytes)")));
}

TEST(ThreadCommunicatorTest, ARankThatLeftFailsItsPeersAtOnceEvenThePatientOnes) {
  ThreadWorld world(2);
  std::vector<std::byte> bytes(8);
  std::jthread other([&] {
    std::this_thread::sleep_for(10ms);
    world.leave(1);
  });
  for (int again = 0; again < 2; ++again) {
    const std::string failure =
        failure_of([&] { world.rank(0).transfer({}, {{1, bytes}}, Patience::forever()); });
    EXPECT_THAT(failure, testing::HasSubstr("rank 1 has left"));
  }
}

TEST(ThreadCommunicatorTest, AnExceptionInOneRankIsReportedWithItsRank) {
  const auto broken = [] {
    test::run_ranks(3, [](Communicator& comm) {
      if (comm.rank() == 2) throw CommError("no such page");
    });
  };
  testing::TestPartResultArray failures;
  {
    testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ALL_THREADS, &failures);
    broken();
  }
  ASSERT_EQ(failures.size(), 1);
  EXPECT_THAT(failures.GetTestPartResult(0).message(), testing::HasSubstr("rank 2"));
  EXPECT_THAT(failures.GetTestPartResult(0).message(), testing::HasSubstr("no such page"));
}

}  // namespace
}  // namespace longspan

namespace longspan::test {
namespace {

World threads(int ranks) {
  return {std::to_string(ranks) + "Threads", [ranks](const auto& body) { run_ranks(ranks, body); }};
}

World delayed_threads(int ranks) {
  return {std::to_string(ranks) + "DelayedThreads", [ranks](const auto& body) {
            run_ranks(ranks, [&](Communicator& comm) {
              DelayingCommunicator delaying(comm, 7);
              body(delaying);
            });
          }};
}

World impatient_threads(int ranks) {
  return {std::to_string(ranks) + "Threads",
          [ranks](const auto& body) { run_ranks(ranks, body, std::chrono::milliseconds(300)); }};
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorConformance,
                         testing::Values(threads(1), threads(2), threads(3), threads(4), threads(5),
                                         delayed_threads(3)),
                         world_name);
INSTANTIATE_TEST_SUITE_P(All, CommunicatorLossConformance,
                         testing::Values(impatient_threads(1), impatient_threads(2),
                                         impatient_threads(5)),
                         world_name);

}  // namespace
}  // namespace longspan::test
