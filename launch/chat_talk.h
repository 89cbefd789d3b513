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
#include "runtime/engine/engine.h"

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

  /// Hears of layers: EngineSetup::layer.
  LayerDone layer_done();
  /// Until there are no more messages or somebody wants to leave. The engine's room is that of the
  /// whole conversation. What goes wrong at last with the session's file is its failure().
  void run(Engine& engine);

 private:
  using Clock = std::chrono::steady_clock;

  void talk(Engine& engine);
  void take_up(Engine& engine);
  bool can_save(const Engine& engine) const;
  void save(Engine& engine, const std::optional<std::string>& fork);
  void save_at_end(Engine& engine);
  void reset(Engine& engine);
  void take_turn(Engine& engine, const std::string& message);
  /// The conversation's tokens; nothing, and a line that says why, when there are too many or the
  /// template refuses it.
  std::optional<std::vector<TokenId>> tokens() const;
  void answer(Engine& engine, const std::vector<TokenId>& prompt);
  void begin(Engine& engine, const std::vector<TokenId>& prompt, std::int64_t max_new);
  void note_prefill(const Progress& chunk);
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
  std::optional<RequestId> conversation_;  // of the engine, once there was a turn
  bool ended_ = false;                     // the turn
  Clock::time_point turn_began_;
  std::optional<AnswerRecorder> recorder_;   // of the turn
  std::optional<PrefillProgress> progress_;  // likewise
};

}  // namespace longspan
