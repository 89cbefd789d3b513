#include "launch/answer_recorder.h"

#include <algorithm>
#include <utility>

namespace longspan {

AnswerRecorder::AnswerRecorder(RecordedRequest request, Readers readers, const Tokenizer& tokenizer)
    : request_(std::move(request)),
      readers_(readers),
      answer_{.prompt = request_.prompt},
      text_(tokenizer, Detokenizer::Start::kContinuation),
      stops_(request_.stop_texts) {}

void AnswerRecorder::prefill(const Progress& chunk, double now) {
  if (answer_.read == 0) {
    answer_.prefill_start = now;
    answer_.kept = chunk.prompt_done;
  }
  answer_.read += chunk.prompt_chunk;
  note_strategy(*chunk.choice);
}

void AnswerRecorder::note_strategy(const StrategyChoice& choice) {
  const std::string taken = describe(choice.plan, readers_.degree);
  const std::string after_another = ", " + taken;
  if (answer_.strategy.empty()) {
    answer_.strategy = taken;
  } else if (answer_.strategy != taken && !answer_.strategy.ends_with(after_another)) {
    answer_.strategy += after_another;
  }
  answer_.strategy_reason = choice.reason;
  answer_.predicted_s += choice.seconds * readers_.layers;
}

void AnswerRecorder::nll(double sum) { answer_.nll_sum = answer_.nll_sum.value_or(0.0) + sum; }

std::string AnswerRecorder::token(const Scored& scored, double now) {
  answer_.last_token = now;
  if (answer_.sampled++ == 0) answer_.first_token = now;
  answer_.last_margin = scored.margin;
  std::string text;
  if (std::ranges::count(request_.sampling.stops, scored.chosen.id) > 0) {
    answer_.stop_id = scored.chosen.id;
  } else {
    answer_.tokens.push_back(scored);
    const std::string decoded = text_.push(scored.chosen.id);
    const bool stops_count = answer_.sampled > request_.sampling.min_tokens;
    text = shown(stops_count ? stops_.push(decoded) : stops_.pass(decoded));
  }
  return text + complete_if_over();
}

std::string AnswerRecorder::complete_if_over() {
  const bool last = answer_.stop_id || answer_.sampled == request_.max_new;
  const std::string text = last ? finish() : "";
  answer_.stop_text = stops_.found();
  ended_by_text_ = answer_.stop_text && !last;
  answer_.stopped = answer_.stop_id || answer_.stop_text;
  answer_.complete = last || answer_.stopped;
  return text;
}

std::string AnswerRecorder::finish() {
  const std::string rest = stops_.push(text_.finish());
  return shown(rest + stops_.finish());
}

double AnswerRecorder::done() const {
  if (answer_.complete) return 1;
  const auto most = std::ssize(request_.prompt) - answer_.kept + request_.max_new;
  return static_cast<double>(answer_.read + answer_.sampled) / static_cast<double>(most);
}

std::string AnswerRecorder::shown(std::string text) {
  answer_.text += text;
  return text;
}

}  // namespace longspan
