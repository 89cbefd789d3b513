// `longspan generate --session`: its one request as a conversation that is taken up and saved.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "comm/machine.h"
#include "launch/session_keeper.h"
#include "runtime/engine/job.h"

namespace longspan {

struct SessionRun {
  SessionKeeper* keeper = nullptr;
  /// What there is to save when the job has ended; nothing: the file stays as it is.
  std::function<std::optional<SessionText>()> text;
};

/// As run_job(), for rank 0. What goes wrong with the file is the keeper's failure().
std::vector<RankSummary> run_in_session(Machine& machine, LoadedModel& model,
                                        const JobOptions& options, const JobInput& job,
                                        const SessionRun& session);

}  // namespace longspan
