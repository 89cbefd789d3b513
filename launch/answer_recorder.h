// One answer as it comes: what the engine reports of a request becomes an Answer and its text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/answer.h"
#include "runtime/engine/coordinator.h"
#include "runtime/model/sampling.h"
#include "runtime/model/stop_strings.h"

namespace longspan {

/// What an answer is recorded for.
struct RecordedRequest {
  std::vector<TokenId> prompt;
  Sampling sampling;
  std::int64_t max_new = 1;
  bool names_limit = true;              // somebody wants no more than max_new
  std::vector<std::string> stop_texts;  // end the answer, but not before its min_tokens
};

/// How the model's ranks read: for what is said of strategies.
struct Readers {
  int degree = 1;
  int layers = 1;
};

class AnswerRecorder {
 public:
  /// Borrows the tokenizer.
  AnswerRecorder(RecordedRequest request, Readers readers, const Tokenizer& tokenizer);

  /// A chunk is about to be read. `now`, here and below: seconds since weights and prompts were
  /// there.
  void prefill(const Progress& chunk, double now);
  void nll(double sum);
  /// Returns the text that came free.
  std::string token(const Scored& scored, double now);
  /// What was held back of an answer that is cut short.
  std::string finish();

  /// Whether a text has ended the answer: the engine, which knows tokens only, would go on.
  bool ended_by_text() const { return ended_by_text_; }
  const Answer& answer() const { return answer_; }
  /// The share that was read and written of the tokens that it may come to have, 0 to 1.
  double done() const;

 private:
  void note_strategy(const StrategyChoice& choice);
  std::string complete_if_over();
  /// Takes note of text that came free.
  std::string shown(std::string text);

  RecordedRequest request_;
  Readers readers_;
  Answer answer_;
  Detokenizer text_;
  StopStrings stops_;
  bool ended_by_text_ = false;
};

}  // namespace longspan
