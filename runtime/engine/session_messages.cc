#include "runtime/engine/session_messages.h"

#include <utility>

#include "comm/wire.h"

namespace longspan {
namespace {

void fields(auto& wire, MaybeConst<SavePages> auto& order) {
  wire(order.request, order.session, order.generation, order.computed, order.kv_heads);
}

void fields(auto& wire, MaybeConst<RestorePages> auto& order) {
  wire(order.request, order.session, order.generation, order.group, order.owners, order.pages,
       order.finished);
}

void fields(auto& wire, MaybeConst<Failure> auto& failure, MaybeConst<bool> auto& wrote,
            MaybeConst<SessionPart> auto& part) {
  wire(failure.code, failure.message, wrote, part.rank, part.heads, part.pages);
}

}  // namespace

Message to_message(const SavePages& order) {
  WireWriter out;
  fields(out, order);
  return {MessageType::kSavePages, out.take()};
}

SavePages read_save_pages(const Message& message) {
  WireReader in = open_message(message, MessageType::kSavePages);
  SavePages order;
  fields(in, order);
  return order;
}

Message to_message(const RestorePages& order) {
  WireWriter out;
  fields(out, order);
  return {MessageType::kRestorePages, out.take()};
}

RestorePages read_restore_pages(const Message& message) {
  WireReader in = open_message(message, MessageType::kRestorePages);
  RestorePages order;
  fields(in, order);
  return order;
}

Message to_message(const PagesReport& report) {
  const Failure failure = report.failure.value_or(Failure{ExitCode::kClean, ""});
  const bool wrote = report.part.has_value();
  const SessionPart part = report.part.value_or(SessionPart{});
  WireWriter out;
  fields(out, failure, wrote, part);
  return {MessageType::kPagesReport, out.take()};
}

PagesReport read_pages_report(const Message& message) {
  WireReader in = open_message(message, MessageType::kPagesReport);
  Failure failure{};
  bool wrote = false;
  SessionPart part;
  fields(in, failure, wrote, part);
  PagesReport report;
  if (failure.code != ExitCode::kClean) report.failure = std::move(failure);
  if (wrote) report.part = std::move(part);
  return report;
}

}  // namespace longspan
