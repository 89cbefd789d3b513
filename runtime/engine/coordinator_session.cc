// How a held conversation leaves for a session's files and comes from them, on all ranks.
#include <utility>

#include "comm/error.h"
#include "runtime/engine/coordinator.h"
#include "runtime/engine/session_messages.h"

namespace longspan {
namespace {

/// Of the group's ranks. Reading and writing take as long as disks do: nobody can say how long that
/// is.
template <typename Order, typename Own>
std::vector<PagesReport> reports_of(ControlChannel& control, GroupLine& line, const Order& order,
                                    const Own& own) {
  std::vector<PagesReport> reports;
  line.call([&] {
    control.send(line.peers(), to_message(order));
    if (line.has_rank_0()) reports.push_back(own(order));
    for (const int rank : line.peers()) {
      reports.push_back(read_pages_report(control.receive(rank, Patience::forever())));
    }
  });
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
  return {conversation.tokens, schedule_.planner_of(request).computed_of_held(request),
          conversation.room};
}

std::vector<SessionPart> Coordinator::save_pages(const SavePages& order) {
  GroupSteps& group = steps_of(order.request);
  await(group);
  expects(order.computed <= schedule_.planner_of(order.request).computed_of_held(order.request),
          "pages that are there");
  std::vector<PagesReport> reports =
      reports_of(control_, *group.line, order,
                 [this](const SavePages& saved) { return worker_.save_pages(saved); });
  raise_first(reports);
  std::vector<SessionPart> parts;
  for (PagesReport& report : reports) {
    if (report.part) parts.push_back(std::move(*report.part));
  }
  return parts;
}

bool Coordinator::restore(RequestId request, const std::string& session, const SessionIndex& index,
                          std::int64_t room) {
  settle();
  auto restored =
      schedule_.restore({.id = request, .prompt_tokens = index.computed, .room = room}, costs());
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
  const auto reports =
      reports_of(control_, *steps_of(request).line, order,
                 [this](const RestorePages& taken) { return worker_.restore_pages(taken); });
  try {
    raise_first(reports);
  } catch (...) {
    forget(request);
    throw;
  }
  return true;
}

}  // namespace longspan
