// Independent tasks on the threads of the calling stream.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace longspan {

/// How many threads the calling thread's parallel regions may use.
inline int available_threads() { return omp_get_max_threads(); }

/// body(task, thread) for each task in [0, tasks), thread < threads. Tasks start in order, finish
/// in any. With one thread no parallel region is entered: ThreadSanitizer cannot see into OpenMP's
/// barriers, and a rank with one core has nothing to gain.
template <typename Body>
void parallel_for(std::int64_t tasks, int threads, const Body& body) {
  const int team = static_cast<int>(std::min<std::int64_t>(threads, tasks));
  if (team <= 1) {
    for (std::int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(team)
  for (std::int64_t task = 0; task < tasks; ++task) body(task, omp_get_thread_num());
}

}  // namespace longspan
