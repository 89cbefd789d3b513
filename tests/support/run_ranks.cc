#include "tests/support/run_ranks.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "comm/cpu/thread_communicator.h"

namespace longspan::test {

void run_ranks(int ranks, const std::function<void(Communicator&)>& body,
               std::chrono::milliseconds deadline) {
  ThreadWorld world(ranks, deadline);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&world, &body, rank] {
      SCOPED_TRACE("rank " + std::to_string(rank));
      try {
        body(world.rank(rank));
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << " ended with an exception: " << error.what();
      }
      world.leave(rank);
    });
  }
}

}  // namespace longspan::test
