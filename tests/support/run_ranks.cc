#include "tests/support/run_ranks.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/cpu/thread_machine.h"

namespace longspan::test {
namespace {

void run_threads(int ranks, const std::function<void(int rank)>& body,
                 const std::function<void(int rank)>& leave) {
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&body, &leave, rank] {
      SCOPED_TRACE("rank " + std::to_string(rank));
      try {
        body(rank);
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << " ended with an exception: " << error.what();
      }
      leave(rank);
    });
  }
}

}  // namespace

void run_ranks(int ranks, const std::function<void(Communicator&)>& body,
               std::chrono::milliseconds deadline) {
  ThreadWorld world(ranks, deadline);
  run_threads(
      ranks, [&](int rank) { body(world.rank(rank)); }, [&](int rank) { world.leave(rank); });
}

void run_machines(int ranks, const std::function<void(Machine&)>& body,
                  std::chrono::milliseconds deadline) {
  const auto data = std::make_shared<ThreadWorld>(ranks, deadline);
  const auto control = std::make_shared<ThreadWorld>(ranks, deadline);
  run_threads(
      ranks,
      [&](int rank) {
        ThreadMachine machine(data, control, rank, 1);
        body(machine);
      },
      [&](int rank) {
        data->leave(rank);
        control->leave(rank);
      });
}

}  // namespace longspan::test
