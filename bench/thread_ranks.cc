#include "bench/thread_ranks.h"

#include <chrono>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "comm/cpu/thread_machine.h"

namespace longspan::bench {

void run_on_threads(int ranks, int threads, const std::function<void(Machine&)>& body) {
  constexpr std::chrono::minutes kPatience{2};
  const auto data = std::make_shared<ThreadWorld>(ranks, kPatience);
  const auto control = std::make_shared<ThreadWorld>(ranks, kPatience);
  std::vector<std::exception_ptr> failures(ranks);
  {
    std::vector<std::jthread> running;
    for (int rank = 0; rank < ranks; ++rank) {
      running.emplace_back([&, rank] {
        try {
          ThreadMachine machine(data, control, rank, threads);
          body(machine);
        } catch (...) {
          failures[rank] = std::current_exception();
        }
        data->leave(rank);
        control->leave(rank);
      });
    }
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace longspan::bench
