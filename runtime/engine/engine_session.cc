// How an engine's conversations leave for a session's files and come from them.
#include "comm/error.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/session_messages.h"

namespace longspan {

bool Engine::holds(RequestId conversation) const {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(conversation);
  return found != known_.end() && found->second.state == State::kHeld;
}

HeldConversation Engine::held(RequestId conversation) const {
  expects(holds(conversation), "a conversation that is held");
  return coordinator_->held(conversation);
}

std::vector<SessionPart> Engine::save_pages(const SavePages& order) {
  expects(holds(order.request), "a conversation that is held");
  return coordinator_->save_pages(order);
}

/// Calls are heeded first, in all groups: one may have dropped what makes room.
std::optional<RequestId> Engine::restore(const std::string& session, const SessionIndex& index,
                                         std::int64_t room) {
  coordinator_->settle();
  heed_calls();
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = next_id_++;
  }
  if (!coordinator_->restore(id, session, index, room)) return std::nullopt;
  {
    const std::lock_guard lock(mutex_);
    known_.emplace(id, Known{.state = State::kHeld, .room = room});
  }
  publish();
  return id;
}

}  // namespace longspan
