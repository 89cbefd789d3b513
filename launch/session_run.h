// `longspan generate --session`: its one request as a conversation that is taken up and saved.
#pragma once

#include <functional>
#include <vector>

#include "comm/machine.h"
#include "launch/session_keeper.h"
#include "runtime/engine/job.h"

namespace longspan {

struct SessionRun {
  SessionKeeper* keeper = nullptr;
  /// Called with how many tokens of the prompt need not be read, before the first step.
  std::function<void(std::int64_t)> keeps;
  /// What there is to save when the job has ended; nothing: the file stays as it is.
  std::function<std::optional<SessionText>()> text;
};

/// As run_job(), for rank 0. What goes wrong with the file is the keeper's failure().
std::vector<RankSummary> run_in_session(Machine& machine, LoadedModel& model,
                                        const JobOptions& options, const JobInput& job,
                                        const SessionRun& session);

}  // namespace longspan
