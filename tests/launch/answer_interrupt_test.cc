// Each test is a process of its own: signals are the whole process's, and some of them end it.
#include "launch/answer_interrupt.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace longspan {
namespace {

/// Until it is so; a test that waits in vain is ended by ctest.
template <typename Condition>
void await(const Condition& condition) {
  while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void send(int signal) { kill(getpid(), signal); }

bool is_woken(const AnswerInterrupt& interrupt) {
  pollfd fd{.fd = interrupt.leaving_fd(), .events = POLLIN, .revents = 0};
  return poll(&fd, 1, 0) == 1;
}

constexpr auto kMoment = std::chrono::milliseconds(50);
constexpr auto kSpoken = std::chrono::milliseconds(500);  // a line is said by then, if at all

/// Leaves with 0 if all that was to be was.
[[noreturn]] void leave(bool good) { _exit(good ? 0 : 1); }

TEST(AnswerInterruptDeathTest, TheFirstCtrlCOfAnAnswerEndsThatAnswerOnly) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto body = [] {
    AnswerInterrupt interrupt;
    for (int turn = 0; turn < 3; ++turn) {
      interrupt.begin_answer();
      if (interrupt.ends_answer()) leave(false);
      send(SIGINT);
      await([&] { return interrupt.ends_answer(); });
      interrupt.end_answer();
    }
    std::this_thread::sleep_for(kMoment);
    leave(!interrupt.leaving() && !is_woken(interrupt));
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(0), "");
}

TEST(AnswerInterruptDeathTest, TheSecondOneLeavesEvenIfTheAnswerDoesNotEnd) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto body = [] {
    AnswerInterrupt interrupt;
    interrupt.begin_answer();
    send(SIGINT);
    await([&] { return interrupt.ends_answer(); });
    send(SIGINT);
    await([] { return false; });
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(130), "");
}

TEST(AnswerInterruptDeathTest, AStepThatGoesOnIsSaidOnce) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto body = [] {
    AnswerInterrupt interrupt;
    interrupt.begin_answer();
    send(SIGINT);
    std::this_thread::sleep_for(kSpoken);
    leave(interrupt.ends_answer());
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(0), "^longspan: Ctrl-C takes effect [^\n]*\n$");
}

TEST(AnswerInterruptDeathTest, NothingIsSaidOfAStepThatIsOver) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto body = [] {
    AnswerInterrupt interrupt;
    interrupt.begin_answer();
    send(SIGINT);
    await([&] { return interrupt.ends_answer(); });
    std::this_thread::sleep_for(kSpoken);
    leave(true);
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(0), "^$");
}

TEST(AnswerInterruptDeathTest, WhenAMessageIsAwaitedCtrlCWakesWhoWaits) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto body = [] {
    AnswerInterrupt interrupt;
    send(SIGINT);
    await([&] { return is_woken(interrupt); });
    leave(interrupt.leaving());
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(0), "");
}

TEST(AnswerInterruptDeathTest, SigtermAlwaysLeavesAndOtherRanksLeaveCtrlCToRank0) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto body = [] {
    AnswerInterrupt interrupt;
    interrupt.leave_to_rank_0();
    send(SIGINT);
    std::this_thread::sleep_for(kMoment);
    if (interrupt.leaving()) leave(false);
    send(SIGTERM);
    await([] { return false; });
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(143), "");
}

}  // namespace
}  // namespace longspan
