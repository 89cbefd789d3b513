#include "launch/generate_run.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include "comm/str.h"
#include "launch/terminal.h"
#include "runtime/model/stop_strings.h"

namespace longspan {
namespace {

/// Tokens to text, up to a stop.
class AnswerText {
 public:
  AnswerText(const Tokenizer& tokenizer, const std::vector<std::string>& stops)
      : text_(tokenizer, Detokenizer::Start::kContinuation), stops_(stops) {}

  /// What may be shown now.
  std::string push(TokenId id, bool stops_count) {
    const std::string text = text_.push(id);
    return stops_count ? stops_.push(text) : stops_.pass(text);
  }
  std::string finish() {
    const std::string rest = stops_.push(text_.finish());
    return rest + stops_.finish();
  }
  const std::optional<std::string>& stop() const { return stops_.found(); }

 private:
  Detokenizer text_;
  StopStrings stops_;
};

/// Listens to the coordinator. With several prompts the text of a later one waits until the ones
/// before it are complete, so that answers come in order.
class Collector {
 public:
  Collector(const RunInput& input, LoadedModel& model, int degree)
      : input_(input),
        degree_(degree),
        layers_(model.config.layers),
        progress_(model.config.layers, shows_on_terminal(STDERR_FILENO)) {
    for (const JobRequest& request : input.requests) {
      answers_.push_back({.prompt = request.admission.prompt});
      texts_.emplace_back(model.tokenizer, input.stop_texts);
    }
    if (input.stream) announce(0);
  }

  Coordinator::Listener listener() {
    return {.prefill = [this](const Progress& chunk) { prefill(chunk); },
            .layer =
                [this](int layer) {
                  if (input_.progress) progress_.layer(layer);
                },
            .token = [this](RequestId id, const Scored& scored) { token(id, scored); },
            .nll = [this](RequestId id, double sum) { nll(id, sum); }};
  }

  /// Requests whose text has come to a stop: the engine knows tokens only.
  void end_stopped(Coordinator& coordinator) {
    for (RequestId id : std::exchange(ended_, {})) coordinator.end(id);
  }

  /// The answers as far as they came, at the end of a run or when it was cut short.
  std::vector<Answer> take() {
    for (std::size_t id = 0; id < answers_.size(); ++id) {
      if (!answers_[id].complete) add_text(id, texts_[id].finish());
    }
    if (input_.stream) show_the_rest();
    return std::move(answers_);
  }

 private:
  double now() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - input_.loaded).count();
  }

  void prefill(const Progress& chunk) {
    Answer& answer = answers_[chunk.request];
    if (chunk.prompt_done == 0) answer.prefill_start = now();
    note_strategy(answer, *chunk.choice);
    if (input_.progress) progress_.chunk(chunk.prompt_done, chunk.prompt_chunk, chunk.prompt_total);
  }

  void note_strategy(Answer& answer, const StrategyChoice& choice) {
    const std::string taken = describe(choice.plan, degree_);
    const std::string after_another = ", " + taken;
    if (answer.strategy.empty()) {
      answer.strategy = taken;
    } else if (answer.strategy != taken && !answer.strategy.ends_with(after_another)) {
      answer.strategy += after_another;
    }
    answer.strategy_reason = choice.reason;
    answer.predicted_s += choice.seconds * layers_;
  }

  void nll(RequestId id, double sum) {
    answers_[id].nll_sum = answers_[id].nll_sum.value_or(0.0) + sum;
  }

  void token(RequestId id, const Scored& scored) {
    progress_.finish();
    Answer& answer = answers_[id];
    const JobRequest& request = input_.requests[id];
    answer.last_token = now();
    if (answer.sampled++ == 0) answer.first_token = answer.last_token;
    answer.last_margin = scored.margin;
    const Sampling& sampling = request.admission.sampling;
    if (std::ranges::count(sampling.stops, scored.chosen.id) > 0) {
      answer.stop_id = scored.chosen.id;
    } else {
      answer.tokens.push_back(scored);
      const bool stops_count = answer.sampled > sampling.min_tokens;
      add_text(id, texts_[id].push(scored.chosen.id, stops_count));
    }
    complete_if_over(id);
    while (input_.stream && shown_ + 1 < std::ssize(answers_) && answers_[shown_].complete) {
      announce(++shown_);
    }
  }

  void complete_if_over(RequestId id) {
    Answer& answer = answers_[id];
    const bool last = answer.stop_id || answer.sampled == input_.requests[id].max_new;
    if (last) add_text(id, texts_[id].finish());
    answer.stop_text = texts_[id].stop();
    if (answer.stop_text && !last) ended_.push_back(id);
    answer.stopped = answer.stop_id || answer.stop_text;
    answer.complete = last || answer.stopped;
  }

  void add_text(std::size_t id, const std::string& text) {
    answers_[id].text += text;
    if (input_.stream && static_cast<std::int64_t>(id) == shown_) std::cout << text << std::flush;
  }

  /// What waited for an earlier answer that will not be completed any more.
  void show_the_rest() {
    const auto count = static_cast<std::int64_t>(begun(answers_));
    if (count == 0) return;
    while (shown_ + 1 < count) announce(++shown_);
    std::cout << std::endl;
  }

  /// Starts the output of an answer, with what is already there.
  void announce(std::int64_t id) {
    if (id > 0) std::cout << '\n';
    if (answers_.size() > 1) std::cout << str("--- answer {} of {}\n", id + 1, answers_.size());
    std::cout << answers_[id].text << std::flush;
  }

  const RunInput& input_;
  int degree_;
  int layers_;
  PrefillProgress progress_;
  std::vector<Answer> answers_;
  std::vector<AnswerText> texts_;
  std::vector<RequestId> ended_;  // by their text, since the last step
  std::int64_t shown_ = 0;
};

}  // namespace

void run_prompts(Machine& machine, LoadedModel& model, const JobOptions& options,
                 const RunInput* input, RunResult& result) {
  if (!input) {
    run_job(machine, model, options, nullptr);
    return;
  }
  Collector collector(*input, model, options.degree);
  JobInput job{.requests = input->requests,
               .listener = collector.listener(),
               .interrupted = input->interrupted,
               .between_steps = [&](Coordinator& c) { collector.end_stopped(c); }};
  try {
    result.ranks = run_job(machine, model, options, &job);
  } catch (...) {
    result.answers = collector.take();
    throw;
  }
  result.answers = collector.take();
}

}  // namespace longspan
