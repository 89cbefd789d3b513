#include "runtime/engine/session_messages.h"

#include <utility>

#include "runtime/engine/wire.h"

namespace longspan {

Message to_message(const SavePages& order) {
  WireWriter out;
  out.put(order.request);
  out.put(order.session);
  out.put(order.generation);
  out.put(order.computed);
  out.put(order.kv_heads);
  return {MessageType::kSavePages, out.take()};
}

SavePages read_save_pages(const Message& message) {
  WireReader in = open_message(message, MessageType::kSavePages);
  SavePages order;
  in.read(order.request);
  in.read(order.session);
  in.read(order.generation);
  in.read(order.computed);
  in.read(order.kv_heads);
  return order;
}

Message to_message(const RestorePages& order) {
  WireWriter out;
  out.put(order.request);
  out.put(order.session);
  out.put(order.generation);
  out.put(order.group);
  out.put(order.owners);
  out.put(order.pages);
  out.put(order.finished);
  return {MessageType::kRestorePages, out.take()};
}

RestorePages read_restore_pages(const Message& message) {
  WireReader in = open_message(message, MessageType::kRestorePages);
  RestorePages order;
  in.read(order.request);
  in.read(order.session);
  in.read(order.generation);
  in.read(order.group);
  in.read(order.owners);
  in.read(order.pages);
  in.read(order.finished);
  return order;
}

Message to_message(const PagesReport& report) {
  const Failure failure = report.failure.value_or(Failure{ExitCode::kClean, ""});
  const SessionPart part = report.part.value_or(SessionPart{});
  WireWriter out;
  out.put(failure.code);
  out.put(failure.message);
  out.put(report.part.has_value());
  out.put(part.rank);
  out.put(part.heads);
  out.put(part.pages);
  return {MessageType::kPagesReport, out.take()};
}

PagesReport read_pages_report(const Message& message) {
  WireReader in = open_message(message, MessageType::kPagesReport);
  Failure failure{};
  SessionPart part;
  in.read(failure.code);
  in.read(failure.message);
  const bool wrote = in.read<bool>();
  in.read(part.rank);
  in.read(part.heads);
  in.read(part.pages);
  PagesReport report;
  if (failure.code != ExitCode::kClean) report.failure = std::move(failure);
  if (wrote) report.part = std::move(part);
  return report;
}

}  // namespace longspan
