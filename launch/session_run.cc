#include "launch/session_run.h"

#include <iostream>
#include <utility>

#include "comm/str.h"

namespace longspan {

std::int64_t room_in_session(const SessionKeeper& keeper, const EngineRequest& request) {
  return keeper.room_for(std::ssize(request.prompt) + *request.max_new);
}

std::optional<RequestId> begin_in_session(Engine& engine, SessionKeeper& keeper,
                                          EngineRequest request) {
  request.room = engine.room();
  const std::optional<RequestId> taken_up = keeper.take_up(engine, request.room);
  if (keeper.failure()) return std::nullopt;
  if (!taken_up) return engine.submit(std::move(request));
  engine.extend(*taken_up, std::move(request));
  return taken_up;
}

void end_in_session(Engine& engine, SessionKeeper& keeper, RequestId conversation,
                    const std::optional<SessionText>& text) {
  if (!engine.holds(conversation)) {
    engine.abort(conversation);
    while (engine.step()) continue;
  }
  if (!text || !engine.holds(conversation)) return;
  if (keeper.save(engine, conversation, *text)) {
    std::cerr << str("longspan: saved {}\n", keeper.said()) << std::flush;
  }
}

}  // namespace longspan
