#include "launch/terminal.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

namespace longspan {
namespace {

TEST(TerminalTest, TheTerminalOfAnotherProcessIsSeen) {
  int controller = -1, terminal = -1;
  ASSERT_EQ(openpty(&controller, &terminal, nullptr, nullptr, nullptr), 0);
  EXPECT_TRUE(is_terminal_of(getpid(), terminal));
  EXPECT_TRUE(shows_on_terminal(terminal));
  close(controller);
  close(terminal);
}

TEST(TerminalTest, APipeShowsNothingUnlessALauncherCopiesIt) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FALSE(is_terminal_of(getpid(), ends[1]));
  EXPECT_FALSE(shows_on_terminal(ends[1]));  // ctest is no launcher
  close(ends[0]);
  close(ends[1]);
}

TEST(TerminalTest, WhatCannotBeKnownIsNoTerminal) {
  EXPECT_FALSE(is_terminal_of(getpid(), 9999));
  EXPECT_FALSE(shows_on_terminal(-1));
}

}  // namespace
}  // namespace longspan
