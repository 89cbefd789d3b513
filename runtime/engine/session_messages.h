// What is said when a held conversation's pages go to files, or come from them.
//
//   coordinator -> worker   SavePages      write your pages of it
//                           RestorePages   these are its pages: take what they hold from the files
//   worker -> coordinator   PagesReport    what was written, or what went wrong
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "runtime/engine/messages.h"
#include "runtime/session/session_index.h"

namespace longspan {

struct SavePages {
  RequestId request = 0;
  std::string session;           // the index's path, which ranks share
  std::uint64_t generation = 0;  // of the parts
  std::int64_t computed = 0;     // positions that are saved
  int kv_heads = 1;              // of the whole model
};

struct RestorePages {
  RequestId request = 0;
  std::string session;
  std::uint64_t generation = 0;     // that the index is to have
  std::vector<int> group;           // instances that compute the conversation
  std::vector<int> owners;          // of all pages it can ever need
  std::vector<PageRef> pages;       // the first ones, which the files have
  std::vector<RequestId> finished;  // forget these first: as StepPlan says it
};

struct PagesReport {
  std::optional<Failure> failure;
  std::optional<SessionPart> part;  // that was written, if this rank had anything to write
};

Message to_message(const SavePages& order);
Message to_message(const RestorePages& order);
Message to_message(const PagesReport& report);

/// The reverse; CommError when the type is another or the payload is cut short.
SavePages read_save_pages(const Message& message);
RestorePages read_restore_pages(const Message& message);
PagesReport read_pages_report(const Message& message);

}  // namespace longspan
