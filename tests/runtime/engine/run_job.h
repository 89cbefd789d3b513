// A job for tests: requests that are known when it starts, run to their end by all ranks, with the
// coordinator at hand between steps.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "runtime/engine/job.h"

namespace longspan {

struct JobRequest {
  Admission admission;
  std::int64_t max_new = 1;
  bool wants_nll = false;
};

struct JobInput {
  std::vector<JobRequest> requests;
  Coordinator::Listener listener;
  std::function<void(Coordinator&)> between_steps = nullptr;  // if any: called before each step
};

/// Every rank calls it; rank 0 with the input, the others without.
inline std::vector<RankSummary> run_job(Machine& machine, LoadedModel& model,
                                        const JobOptions& options, JobInput* input) {
  if (!input) return run_session(machine, model, options, nullptr);
  SessionInput session{.listener = input->listener};
  for (const JobRequest& request : input->requests) {
    session.shapes.push_back(
        {.prompt_tokens = std::ssize(request.admission.prompt), .max_new = request.max_new});
  }
  session.drive = [&](Coordinator& coordinator) {
    for (const JobRequest& request : input->requests) {
      const bool fits = coordinator.submit(request.admission, request.max_new, request.wants_nll);
      expects(fits, "memory was planned for the longest request");
    }
    do {
      if (input->between_steps) input->between_steps(coordinator);
    } while (coordinator.step());
  };
  return run_session(machine, model, options, &session);
}

}  // namespace longspan
