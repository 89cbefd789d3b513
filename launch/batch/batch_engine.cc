#include "launch/batch/batch_engine.h"

#include <optional>
#include <utility>

#include "comm/error.h"

namespace longspan {

void BatchEngine::open(Machine& machine, LoadedModel& model, const JobOptions& options, Room room,
                       const Events* events, const std::function<void(BatchEngine&)>& serve) {
  if (!events) {
    run_session(machine, model, options, nullptr);
    return;
  }
  std::optional<BatchEngine> engine;
  SessionInput session{
      .shapes = std::vector<RequestShape>(static_cast<std::size_t>(options.max_running),
                                          RequestShape{.room = room.tokens}),
      .room_gives_way = room.gives_way,
      .listener = {.prefill = events->prefill,
                   .layer = nullptr,
                   .token = events->token,
                   .nll = [](RequestId, double) {}}};
  session.drive = [&](Coordinator& coordinator) {
    engine.emplace(BatchEngine(coordinator, session));
    serve(*engine);
  };
  run_session(machine, model, options, &session);
}

BatchEngine::BatchEngine(Coordinator& coordinator, const SessionInput& session)
    : coordinator_(coordinator), room_(session.shapes.front().room) {}

void BatchEngine::submit(RequestId id, const RecordedRequest& request, int top) {
  const bool fits = coordinator_.submit(
      {.request = id, .prompt = request.prompt, .top = top, .sampling = request.sampling},
      request.max_new, false);
  expects(fits, "what is longer than the room was refused");
}

double BatchEngine::kv_share() const {
  const PoolPromise pages = coordinator_.kv_promise();
  return pages.capacity > 0
             ? static_cast<double>(pages.promised) / static_cast<double>(pages.capacity)
             : 0;
}

}  // namespace longspan
