// `longspan generate --session`: its one request as a conversation that is taken up and saved.
#pragma once

#include <optional>

#include "launch/session_keeper.h"
#include "runtime/engine/engine.h"

namespace longspan {

/// Room for the request's prompt and answer, in a session.
std::int64_t room_in_session(const SessionKeeper& keeper, const EngineRequest& request);

/// Takes up what the session holds, if it is of use, and reads the rest of the prompt. Nothing
/// where it could not be taken up: the keeper's failure().
std::optional<RequestId> begin_in_session(Engine& engine, SessionKeeper& keeper,
                                          EngineRequest request);

/// Ends an answer that has not ended, and saves what there is; without `text` the file stays as it
/// is. What goes wrong with the file is the keeper's failure().
void end_in_session(Engine& engine, SessionKeeper& keeper, RequestId conversation,
                    const std::optional<SessionText>& text);

}  // namespace longspan
