// Ranks as threads, for tests: any number of ranks in one process, under any sanitizer.
#pragma once

#include <chrono>
#include <functional>

#include "comm/machine.h"

namespace longspan::test {

/// Runs `body` once per rank, each in its own thread, and joins them all. An exception that leaves
/// `body` fails the test and names the rank; the others then fail at once where they wait for it.
/// Inside `body` use EXPECT_*, never ASSERT_*: a rank that leaves strands its peers.
void run_ranks(int ranks, const std::function<void(Communicator&)>& body,
               std::chrono::milliseconds deadline = std::chrono::seconds(20));

/// The same with a whole machine per rank, one thread each.
void run_machines(int ranks, const std::function<void(Machine&)>& body,
                  std::chrono::milliseconds deadline = std::chrono::seconds(20));

}  // namespace longspan::test
