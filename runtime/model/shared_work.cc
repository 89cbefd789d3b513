#include "runtime/model/shared_work.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/error.h"

namespace longspan {

void share_work(std::size_t pieces, int threads,
                const std::function<void(std::size_t piece, int thread)>& work) {
  expects(threads > 0, "somebody to do the work");
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  std::exception_ptr failure;  // guarded by mutex
  const auto take_pieces = [&](int thread) {
    try {
      while (!failed) {
        const std::size_t piece = next++;
        if (piece >= pieces) return;
        work(piece, thread);
      }
    } catch (...) {
      failed = true;
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> team;
    for (int thread = 0; thread < threads; ++thread) team.emplace_back(take_pieces, thread);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace longspan
