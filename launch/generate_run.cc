#include "launch/generate_run.h"

#include <unistd.h>

#include <iostream>

#include "comm/str.h"
#include "launch/terminal.h"

namespace longspan {
namespace {

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
      texts_.emplace_back(model.tokenizer, Detokenizer::Start::kContinuation);
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
    answer.stopped = scored.chosen.id == request.stop;
    answer.complete = answer.stopped || answer.sampled == request.max_new;
    if (!answer.stopped) {
      answer.tokens.push_back(scored);
      add_text(id, texts_[id].push(scored.chosen.id));
    }
    if (answer.complete) add_text(id, texts_[id].finish());
    while (input_.stream && shown_ + 1 < std::ssize(answers_) && answers_[shown_].complete) {
      announce(++shown_);
    }
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
  std::vector<Detokenizer> texts_;
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
               .interrupted = input->interrupted};
  try {
    result.ranks = run_job(machine, model, options, &job);
  } catch (...) {
    result.answers = collector.take();
    throw;
  }
  result.answers = collector.take();
}

}  // namespace longspan
