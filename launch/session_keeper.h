// Rank 0's side of `--session FILE`: what the file holds when the command begins, whether that may
// be used, and saving.
//
//   opened   the file is locked, read and compared with model and options: what can be refused is
//            refused before weights are read, a folder that cannot be written too
//   taken up all ranks read their pages, and the conversation is held as if it had just answered
//   saved    all ranks write their pages; the file names them once all of them are there
//
// What fails about files is kept as failure(), for the command to agree on with the other ranks
// when the job has ended in order.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "launch/batch/batch_lock.h"
#include "launch/options.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "runtime/session/session_index.h"

namespace longspan {

/// What of a held conversation is saved besides its pages.
struct SessionText {
  std::vector<ChatMessage> messages;   // none: it is a text
  std::optional<std::int64_t> length;  // tokens; absent: all there are
};

class SessionKeeper {
 public:
  /// For `options.session`; `type`: of the job's pages. Throws UsageError where the file is of
  /// another model, or what it holds was computed otherwise, unless that is to be recomputed; what
  /// reading throws; Error(kTemporary) while another process has it.
  SessionKeeper(const GenerateOptions& options, const OpenedModel& opened, KvType type);

  /// What the file held, if there was one.
  const std::optional<SessionIndex>& found() const { return found_; }
  /// The room for a conversation of so many tokens: more where keys are turned for what was saved.
  std::int64_t room_for(std::int64_t tokens) const;

  /// Takes up what was found, to be held. Nothing where there is nothing to take up: then all is
  /// read from the tokens. Nothing, with a failure(), where it could not be.
  std::optional<RequestId> take_up(Engine& engine, std::int64_t room);
  /// Saves a held conversation. False, with a failure(), where it could not be: then the file is as
  /// it was.
  bool save(Engine& engine, RequestId conversation, const SessionText& text);
  /// The same beside the file, under another name, which nothing must have yet.
  bool fork(Engine& engine, RequestId conversation, const SessionText& text,
            const std::string& name);

  /// What was saved last, for people: "12,345 tokens to talk.session (1.2 GiB)".
  const std::string& said() const { return said_; }
  const std::optional<Failure>& failure() const { return failure_; }
  /// Somebody has heard of it, and goes on.
  void forget_failure() { failure_.reset(); }

 private:
  bool attempt(const std::function<void()>& tried);
  void expect_usable(const GenerateOptions& options) const;
  void expect_same_kind(const GenerateOptions& options) const;
  void expect_same_terms(const SessionTerms& found) const;
  void expect_parts() const;
  [[noreturn]] void refuse(const std::string& why, const std::string& remedy) const;
  std::int64_t kept(std::int64_t computed, std::int64_t tokens) const;
  void save_as(Engine& engine, RequestId conversation, const SessionText& text,
               const std::filesystem::path& file);

  std::filesystem::path file_;
  BatchLock lock_;
  bool recompute_;
  std::string model_;
  std::int64_t page_tokens_;
  bool turned_by_length_;
  SessionTerms terms_;
  std::optional<SessionIndex> found_;
  std::optional<Failure> failure_;
  std::string said_;
};

}  // namespace longspan
