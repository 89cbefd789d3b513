#include "launch/session_run.h"

#include <iostream>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

/// Takes up what the session holds, if it is of use, and reads the rest of the prompt. False where
/// it could not be taken up.
bool begin(Coordinator& coordinator, const JobRequest& request, std::int64_t room,
           const SessionRun& session) {
  const bool taken_up = session.keeper->take_up(coordinator, request.admission.request, room);
  if (session.keeper->failure()) return false;
  if (taken_up) {
    const auto kept = coordinator.extend(request.admission, request.max_new);
    expects(kept.has_value(), "the room is for the prompt and the answer");
  } else {
    const bool fits = coordinator.submit(request.admission, request.max_new, false, room);
    expects(fits, "memory was planned for the room");
  }
  return true;
}

}  // namespace

std::vector<RankSummary> run_in_session(Machine& machine, LoadedModel& model,
                                        const JobOptions& options, const JobInput& job,
                                        const SessionRun& session) {
  const JobRequest& request = job.requests.front();
  const RequestId id = request.admission.request;
  const std::int64_t room =
      session.keeper->room_for(std::ssize(request.admission.prompt) + request.max_new);
  SessionInput input{.shapes = {{.room = room}}, .listener = job.listener};
  input.drive = [&](Coordinator& coordinator) {
    if (!begin(coordinator, request, room, session)) return;
    do {
      job.between_steps(coordinator);
    } while (!*job.interrupted && coordinator.step());
    if (!coordinator.holds(id)) coordinator.end(id);
    const auto text = session.text();
    if (!text || !coordinator.holds(id)) return;
    if (session.keeper->save(coordinator, id, *text)) {
      std::cerr << str("longspan: saved {}\n", session.keeper->said()) << std::flush;
    }
  };
  return run_session(machine, model, options, &input);
}

}  // namespace longspan
