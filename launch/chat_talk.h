// Rank 0's side of a conversation: messages in, answers out, turn after turn.
//
//   message --> all messages in the template's words --> tokens --> the engine reads what is new
//      ^                                                                    |
//      +-- the answer's text is a message too <-- text as it comes <--------+
//
// What is new follows from the tokens alone: a template that tells the past otherwise, or text
// whose tokens are not those that were sampled, only costs reading.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "launch/answer_interrupt.h"
#include "launch/answer_json.h"
#include "launch/answer_recorder.h"
#include "launch/chat_input.h"
#include "launch/chat_prompts.h"
#include "launch/progress.h"
#include "launch/session_keeper.h"

namespace longspan {

struct ChatTalkOptions {
  std::optional<std::string> system;
  std::int64_t max_tokens = kDefaultAnswerTokens;  // of an answer
  int top = 0;                                     // alternatives to report with each token
  std::vector<std::string> stop_texts;
  bool json = false;
  bool terminal = false;  // a person types
};

class ChatTalk {
 public:
  /// Borrows all but `options` and `facts`. `session`, if any: what it holds goes on, and is saved
  /// there.
  ChatTalk(ChatTalkOptions options, RunFacts facts, const LoadedModel& model,
           const ChatWording& wording, AnswerInterrupt& interrupt, SessionKeeper* session);

  Coordinator::Listener listener();
  /// Until there are no more messages or somebody wants to leave. `room`: tokens of the whole
  /// conversation. What goes wrong at last with the session's file is its failure().
  void run(Coordinator& coordinator, std::int64_t room);

 private:
  using Clock = std::chrono::steady_clock;

  void talk(Coordinator& coordinator);
  void take_up(Coordinator& coordinator);
  bool can_save(const Coordinator& coordinator) const;
  void save(Coordinator& coordinator, const std::optional<std::string>& fork);
  void save_at_end(Coordinator& coordinator);
  void reset(Coordinator& coordinator);
  void take_turn(Coordinator& coordinator, const std::string& message);
  /// The conversation's tokens; nothing, and a line that says why, when there are too many or the
  /// template refuses it.
  std::optional<std::vector<TokenId>> tokens() const;
  void answer(Coordinator& coordinator, const std::vector<TokenId>& prompt);
  void begin(Coordinator& coordinator, const std::vector<TokenId>& prompt, std::int64_t max_new);
  bool is_to_end();
  void show(const std::string& text);
  void report(const Answer& answer) const;
  std::string end_of(const Answer& answer) const;
  double now() const { return std::chrono::duration<double>(Clock::now() - turn_began_).count(); }

  const ChatTalkOptions options_;
  const RunFacts facts_;
  const LoadedModel& model_;
  const ChatWording& wording_;
  AnswerInterrupt& interrupt_;
  SessionKeeper* session_;
  bool unsaved_ = false;  // there are answers that the session's file has not
  LineInput lines_;
  ChatInput input_;
  std::int64_t room_ = 0;
  std::vector<ChatMessage> messages_;
  RequestId request_ = 0;
  Clock::time_point turn_began_;
  std::optional<AnswerRecorder> recorder_;   // of the turn
  std::optional<PrefillProgress> progress_;  // likewise
};

}  // namespace longspan
