// How a held conversation leaves for a session's files and comes from them, on all ranks.
#include <utility>

#include "comm/error.h"
#include "runtime/engine/coordinator.h"
#include "runtime/engine/session_messages.h"

namespace longspan {
namespace {

/// Reading and writing take as long as disks do: nobody can say how long that is.
std::vector<PagesReport> reports_of(ControlChannel& control, const std::vector<int>& others,
                                    PagesReport own) {
  std::vector<PagesReport> reports{std::move(own)};
  for (const int rank : others) {
    reports.push_back(read_pages_report(control.receive(rank, Patience::forever())));
  }
  return reports;
}

void raise_first(const std::vector<PagesReport>& reports) {
  for (const PagesReport& report : reports) {
    if (report.failure) raise(*report.failure);
  }
}

}  // namespace

HeldConversation Coordinator::held(RequestId request) const {
  const Conversation& conversation = conversations_.at(request);
  return {conversation.tokens, planner_.computed_of_held(request), conversation.room};
}

std::vector<SessionPart> Coordinator::save_pages(const SavePages& order) {
  expects(order.computed <= planner_.computed_of_held(order.request), "pages that are there");
  control_.send(others(), to_message(order));
  std::vector<PagesReport> reports = reports_of(control_, others(), worker_.save_pages(order));
  raise_first(reports);
  std::vector<SessionPart> parts;
  for (PagesReport& report : reports) {
    if (report.part) parts.push_back(std::move(*report.part));
  }
  return parts;
}

bool Coordinator::restore(RequestId request, const std::string& session, const SessionIndex& index,
                          std::int64_t room) {
  auto restored = planner_.restore({.id = request, .prompt_tokens = index.computed, .room = room});
  if (!restored) return false;
  conversations_[request] = {.room = room, .tokens = index.tokens};
  drop(restored->finished);
  const RestorePages order{request,
                           session,
                           index.generation,
                           std::move(restored->group),
                           std::move(restored->owners),
                           std::move(restored->pages),
                           std::move(restored->finished)};
  control_.send(others(), to_message(order));
  const auto reports = reports_of(control_, others(), worker_.restore_pages(order));
  try {
    raise_first(reports);
  } catch (...) {
    forget(request);
    throw;
  }
  return true;
}

}  // namespace longspan
