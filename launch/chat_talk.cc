#include "launch/chat_talk.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/run_setup.h"
#include "launch/terminal.h"

namespace longspan {

ChatTalk::ChatTalk(ChatTalkOptions options, RunFacts facts, const LoadedModel& model,
                   const ChatWording& wording, AnswerInterrupt& interrupt, SessionKeeper* session)
    : options_(std::move(options)),
      facts_(std::move(facts)),
      model_(model),
      wording_(wording),
      interrupt_(interrupt),
      session_(session),
      lines_(STDIN_FILENO, interrupt.leaving_fd()),
      input_(lines_, options_.terminal) {
  if (session_ && session_->found()) {
    messages_ = session_->found()->messages;
  } else if (options_.system) {
    messages_.push_back({"system", *options_.system});
  }
}

LayerDone ChatTalk::layer_done() {
  return [this](int layer) {
    if (progress_) progress_->layer(layer);
  };
}

void ChatTalk::note_prefill(const Progress& chunk) {
  recorder_->prefill(chunk, now());
  const std::int64_t kept = recorder_->answer().kept;
  if (!progress_) return;
  progress_->chunk(chunk.prompt_done - kept, chunk.prompt_chunk, chunk.prompt_total - kept);
}

void ChatTalk::run(Engine& engine) {
  room_ = engine.room();
  if (session_) take_up(engine);
  if (session_ && session_->failure()) return;
  talk(engine);
  if (unsaved_) save_at_end(engine);
}

void ChatTalk::talk(Engine& engine) {
  while (!interrupt_.leaving()) {
    const ChatRequest request = input_.next();
    switch (request.kind) {
      case ChatRequest::Kind::kLeave:
        if (options_.terminal) std::cerr << std::endl;
        return;
      case ChatRequest::Kind::kReset:
        reset(engine);
        break;
      case ChatRequest::Kind::kSave:
        save(engine, std::nullopt);
        break;
      case ChatRequest::Kind::kFork:
        save(engine, request.message);
        break;
      case ChatRequest::Kind::kMessage:
        take_turn(engine, request.message);
        break;
    }
  }
}

/// Where its pages are of no use, the next turn reads all messages again.
void ChatTalk::take_up(Engine& engine) {
  const auto& found = session_->found();
  if (!found) return;
  conversation_ = session_->take_up(engine, room_);
  if (session_->failure()) return;
  std::cerr << str("longspan: going on with {} messages, {} tokens{}\n", found->messages.size(),
                   with_thousands(std::ssize(found->tokens)),
                   conversation_ ? "" : ", which the next message reads again")
            << std::flush;
}

bool ChatTalk::can_save(const Engine& engine) const {
  const bool holds = conversation_ && engine.holds(*conversation_);
  const char* why = !session_ ? "begin with --session FILE to save conversations"
                    : !holds  ? "there is nothing to save yet"
                              : nullptr;
  if (why) std::cerr << str("longspan: {}\n", why) << std::flush;
  return why == nullptr;
}

/// What fails is said, and the conversation goes on.
void ChatTalk::save(Engine& engine, const std::optional<std::string>& fork) {
  if (!can_save(engine)) return;
  const SessionText text{.messages = messages_, .length = {}};
  const bool saved = fork ? session_->fork(engine, *conversation_, text, *fork)
                          : session_->save(engine, *conversation_, text);
  if (saved && !fork) unsaved_ = false;
  std::cerr << str("longspan: {}\n",
                   saved ? "saved " + session_->said() : session_->failure()->message)
            << std::flush;
  session_->forget_failure();
  interrupt_.must_save(unsaved_);
}

void ChatTalk::save_at_end(Engine& engine) {
  if (session_->save(engine, *conversation_, {.messages = messages_, .length = {}})) {
    std::cerr << str("longspan: saved {}\n", session_->said()) << std::flush;
  }
  interrupt_.must_save(false);
}

void ChatTalk::reset(Engine& engine) {
  if (conversation_) engine.forget(*conversation_);
  conversation_.reset();
  unsaved_ = false;
  interrupt_.must_save(false);
  std::erase_if(messages_, [](const ChatMessage& message) { return message.role != "system"; });
  std::cerr << "longspan: a new conversation\n" << std::flush;
}

/// A message without an answer is taken back, so that the conversation is as it was.
void ChatTalk::take_turn(Engine& engine, const std::string& message) {
  messages_.push_back({"user", message});
  const auto prompt = tokens();
  if (!prompt) {
    messages_.pop_back();
    return;
  }
  turn_began_ = Clock::now();
  interrupt_.begin_answer();
  interrupt_.must_save(session_ != nullptr);
  answer(engine, *prompt);
  interrupt_.end_answer();
  const Answer& answer = recorder_->answer();
  report(answer);
  if (answer.sampled == 0) {
    messages_.pop_back();
  } else {
    messages_.push_back({"assistant", answer.text});
    unsaved_ = session_ != nullptr;
  }
  interrupt_.must_save(unsaved_);
}

std::optional<std::vector<TokenId>> ChatTalk::tokens() const {
  try {
    const std::string& message = messages_.back().content;
    expect_utf8(message, "the message");
    std::vector<TokenId> ids =
        tokens_of({.text = wording_(messages_), .ids = {}}, model_.tokenizer, "the conversation");
    if (std::ssize(ids) < room_) return ids;
    std::cerr << str(
        "longspan: with this message the conversation has {} tokens, and there is room "
        "for {} (--max-model-len), one of them for an answer; the message is left out: "
        "send a shorter one, or /reset to begin anew\n",
        with_thousands(std::ssize(ids)), with_thousands(room_));
  } catch (const Error& error) {
    std::cerr << str("longspan: {}; the message is left out\n", error.what());
  }
  return std::nullopt;
}

void ChatTalk::answer(Engine& engine, const std::vector<TokenId>& prompt) {
  begin(engine, prompt, std::min(options_.max_tokens, room_ - std::ssize(prompt)));
  while (engine.step()) {
    if (!ended_ && is_to_end()) engine.abort(*conversation_);
  }
  if (progress_) progress_->finish();
  if (!recorder_->answer().complete) show(recorder_->finish());
}

void ChatTalk::begin(Engine& engine, const std::vector<TokenId>& prompt, std::int64_t max_new) {
  recorder_.emplace(RecordedRequest{.prompt = prompt,
                                    .sampling = facts_.sampling,
                                    .max_new = max_new,
                                    .stop_texts = options_.stop_texts},
                    Readers{.degree = facts_.degree, .layers = model_.config.layers},
                    model_.tokenizer);
  progress_.reset();
  const bool shows = shows_on_terminal(STDERR_FILENO);
  if (shows || !options_.json) progress_.emplace(model_.config.layers, shows);
  ended_ = false;
  EngineRequest turn{.prompt = prompt,
                     .sampling = facts_.sampling,
                     .max_new = max_new,
                     .top = options_.top,
                     .room = room_,
                     .on_prefill = [this](const Progress& chunk) { note_prefill(chunk); },
                     .on_token =
                         [this](const Scored& scored) {
                           if (progress_) progress_->finish();
                           show(recorder_->token(scored, now()));
                         },
                     .on_finished = [this](const Finish&) { ended_ = true; }};
  if (conversation_) {
    engine.extend(*conversation_, std::move(turn));
  } else {
    conversation_ = engine.submit(std::move(turn));
  }
}

bool ChatTalk::is_to_end() {
  if (recorder_->ended_by_text() || interrupt_.ends_answer()) return true;
  return options_.terminal && lines_.take_empty_line();
}

void ChatTalk::show(const std::string& text) {
  if (!options_.json) std::cout << text << std::flush;
}

void ChatTalk::report(const Answer& answer) const {
  if (options_.json) {
    std::cout << turn_json(answer, facts_) << std::endl;
    return;
  }
  if (answer.sampled > 0) std::cout << std::endl;
  std::string line = str("longspan: kept {} tokens, read {}", with_thousands(answer.kept),
                         with_thousands(answer.read));
  if (answer.sampled > 0) {
    line += str(" in {:.2f} s ({:.0f} tokens/s) over {}, wrote {}", answer.prefill_s(),
                answer.prefill_tokens_per_s(), ranks_text(facts_.degree, facts_.tp),
                with_thousands(std::ssize(answer.tokens)));
  }
  if (answer.sampled > 1) {
    line += str(" in {:.2f} s ({:.1f} tokens/s)", answer.decode_s(), answer.decode_tokens_per_s());
  }
  std::cerr << str("{}{}\n", line, end_of(answer)) << std::flush;
}

/// Why an answer ended that the model did not end.
std::string ChatTalk::end_of(const Answer& answer) const {
  if (answer.stopped) return "";
  if (answer.sampled == 0) return "; ended before there was an answer: the message is left out";
  if (!answer.complete) return "; ended by you";
  if (answer.sampled == options_.max_tokens) return "; cut at --max-tokens";
  return str("; the conversation is full: {} tokens, /reset begins anew", with_thousands(room_));
}

}  // namespace longspan
