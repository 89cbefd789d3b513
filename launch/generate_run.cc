#include "launch/generate_run.h"

#include <unistd.h>

#include <iostream>
#include <utility>

#include "comm/str.h"
#include "launch/answer_recorder.h"
#include "launch/session_run.h"
#include "launch/terminal.h"

namespace longspan {
namespace {

/// Listens to the coordinator. With several prompts the text of a later one waits until the ones
/// before it are complete, so that answers come in order.
class Collector {
 public:
  Collector(const RunInput& input, LoadedModel& model, int degree)
      : input_(input), progress_(model.config.layers, shows_on_terminal(STDERR_FILENO)) {
    for (const JobRequest& request : input.requests) {
      to_read_ += std::ssize(request.admission.prompt);
      recorders_.emplace_back(RecordedRequest{.prompt = request.admission.prompt,
                                              .sampling = request.admission.sampling,
                                              .max_new = request.max_new,
                                              .stop_texts = input.stop_texts},
                              Readers{.degree = degree, .layers = model.config.layers},
                              model.tokenizer);
    }
    shows_progress_ = input.progress;
    if (input.stream) announce(0);
  }

  Coordinator::Listener listener() {
    return {.prefill = [this](const Progress& chunk) { prefill(chunk); },
            .layer =
                [this](int layer) {
                  if (shows_progress_) progress_.layer(layer);
                },
            .token = [this](RequestId id, const Scored& scored) { token(id, scored); },
            .nll = [this](RequestId id, double sum) { recorders_[id].nll(sum); }};
  }

  /// Ends requests whose text has come to a stop: the engine knows tokens only.
  void end_step(Coordinator& coordinator) {
    read_ += std::exchange(step_, 0);
    for (RequestId id : std::exchange(ended_, {})) coordinator.end(id);
  }

  /// What a session keeps of the only request: all of a conversation, and of a text what was shown.
  /// Nothing for a message without an answer.
  std::optional<SessionText> session_text() const {
    const Answer& answer = recorders_.front().answer();
    const std::int64_t tokens = std::ssize(answer.prompt) + std::ssize(answer.tokens);
    if (input_.messages.empty()) return SessionText{.messages = {}, .length = tokens};
    if (answer.sampled == 0) return std::nullopt;
    SessionText text{.messages = input_.messages};
    text.messages.push_back({"assistant", answer.text});
    return text;
  }

  /// The answers as far as they came, at the end of a run or when it was cut short.
  std::vector<Answer> take() {
    std::vector<Answer> answers;
    for (AnswerRecorder& recorder : recorders_) {
      if (!recorder.answer().complete) show(std::ssize(answers), recorder.finish());
      answers.push_back(recorder.answer());
    }
    if (input_.stream) show_the_rest(answers);
    return answers;
  }

 private:
  double now() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - input_.loaded).count();
  }

  /// Of all prompts together, whose chunks may share a step or take turns; no more of it once an
  /// answer is shown.
  void prefill(const Progress& chunk) {
    if (recorders_[chunk.request].answer().read == 0) to_read_ -= chunk.prompt_done;
    recorders_[chunk.request].prefill(chunk, now());
    step_ += chunk.prompt_chunk;
    if (shows_progress_) progress_.chunk(read_, step_, to_read_);
  }

  void token(RequestId id, const Scored& scored) {
    progress_.finish();
    if (input_.stream && id == shown_) shows_progress_ = false;
    AnswerRecorder& recorder = recorders_[id];
    show(id, recorder.token(scored, now()));
    if (recorder.ended_by_text()) ended_.push_back(id);
    while (input_.stream && shown_ + 1 < std::ssize(recorders_) &&
           recorders_[shown_].answer().complete) {
      announce(++shown_);
    }
  }

  void show(std::int64_t id, const std::string& text) const {
    if (input_.stream && id == shown_) std::cout << text << std::flush;
  }

  /// What waited for an earlier answer that will not be completed any more.
  void show_the_rest(const std::vector<Answer>& answers) {
    const auto count = static_cast<std::int64_t>(begun(answers));
    if (count == 0) return;
    while (shown_ + 1 < count) announce(++shown_);
    std::cout << std::endl;
  }

  /// Starts the output of an answer, with what is already there.
  void announce(std::int64_t id) {
    if (id > 0) std::cout << '\n';
    const std::size_t count = recorders_.size();
    if (count > 1) std::cout << str("--- answer {} of {}\n", id + 1, count);
    std::cout << recorders_[id].answer().text << std::flush;
  }

  const RunInput& input_;
  PrefillProgress progress_;
  std::vector<AnswerRecorder> recorders_;
  std::vector<RequestId> ended_;  // by their text, since the last step
  std::int64_t shown_ = 0;
  std::int64_t to_read_ = 0;     // tokens of all prompts
  std::int64_t read_ = 0;        // of them by the steps that are over
  std::int64_t step_ = 0;        // of them in this one, as far as it was told
  bool shows_progress_ = false;  // changes between steps only
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
               .between_steps = [&](Coordinator& c) { collector.end_step(c); }};
  try {
    if (input->session) {
      const SessionRun session{.keeper = input->session,
                               .text = [&] { return collector.session_text(); }};
      result.ranks = run_in_session(machine, model, options, job, session);
    } else {
      result.ranks = run_job(machine, model, options, &job);
    }
  } catch (...) {
    result.answers = collector.take();
    throw;
  }
  result.answers = collector.take();
}

}  // namespace longspan
