#include "launch/generate_run.h"

#include <unistd.h>

#include <chrono>
#include <iostream>
#include <utility>

#include "comm/str.h"
#include "launch/answer_recorder.h"
#include "launch/session_run.h"
#include "launch/terminal.h"

namespace longspan {
namespace {

/// Listens to the engine. With several prompts the text of a later one waits until the ones
/// before it are complete, so that answers come in order.
class Collector {
 public:
  using Clock = std::chrono::steady_clock;

  Collector(const RunInput& input, LoadedModel& model, const JobOptions& job)
      : input_(input), job_(job), progress_(model.config.layers, shows_on_terminal(STDERR_FILENO)) {
    for (const EngineRequest& request : input.requests) {
      if (choice(std::ssize(recorders_)) == 0) to_read_ += std::ssize(request.prompt);
      recorders_.emplace_back(RecordedRequest{.prompt = request.prompt,
                                              .sampling = request.sampling,
                                              .max_new = *request.max_new,
                                              .stop_texts = input.stop_texts},
                              Readers{.degree = job.degree, .layers = model.config.layers},
                              model.tokenizer);
    }
    shows_progress_ = input.progress;
    if (input.stream) announce(0);
  }

  /// Memory for all of them. Layers are of chunks of rank 0's group: they show how far a step is
  /// where there is no other.
  EngineSetup setup() {
    EngineSetup setup{.queue = QueueBounds::none()};
    if (job_.groups == 1) {
      setup.layer = [this](int layer) {
        if (shows_progress_) progress_.layer(layer);
      };
    }
    if (input_.session) {
      setup.shapes = {{.room = room_in_session(*input_.session, input_.requests.front())}};
      return setup;
    }
    for (const EngineRequest& request : input_.requests) {
      RequestShape shape{.prompt_tokens = std::ssize(request.prompt), .max_new = *request.max_new};
      const std::int64_t i = std::ssize(setup.shapes);
      if (choice(i) > 0) shape.like = i - choice(i);
      setup.shapes.push_back(shape);
    }
    return setup;
  }

  /// All answers, unless somebody interrupts.
  void run(Engine& engine) {
    began_ = Clock::now();
    for (std::size_t i = 0; i < recorders_.size(); ++i) submit(engine, i);
    run_steps(engine);
  }

  /// The same of the only request, in its session. Without a step where that cannot be taken up.
  void run_in_session(Engine& engine) {
    began_ = Clock::now();
    const auto id = begin_in_session(engine, *input_.session, with_callbacks(engine, 0));
    if (!id) return;
    ids_.push_back(*id);
    run_steps(engine);
    end_in_session(engine, *input_.session, *id, session_text());
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
  double now() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }

  void submit(Engine& engine, std::int64_t i) {
    EngineRequest request = with_callbacks(engine, i);
    if (choice(i) > 0) request.like = ids_[i - choice(i)];
    ids_.push_back(engine.submit(std::move(request)));
  }

  EngineRequest with_callbacks(Engine& engine, std::int64_t i) {
    EngineRequest request = input_.requests[i];
    request.on_prefill = [this, i](const Progress& chunk) { prefill(i, chunk); };
    request.on_token = [this, i, &engine](const Scored& scored) { token(engine, i, scored); };
    request.on_nll = [this, i](double sum) { recorders_[i].nll(sum); };
    return request;
  }

  void run_steps(Engine& engine) {
    const std::atomic<bool>* interrupted = input_.interrupted;
    while (!(interrupted && *interrupted) && engine.step()) read_ += std::exchange(step_, 0);
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

  /// Which of its prompt's answers it is.
  std::int64_t choice(std::int64_t i) const { return i % input_.n; }

  /// Of all prompts together, whose chunks may share a step or take turns; no more of it once an
  /// answer is shown.
  void prefill(std::int64_t i, const Progress& chunk) {
    if (recorders_[i].answer().read == 0) {
      to_read_ += choice(i) == 0 ? -chunk.prompt_done : chunk.prompt_total - chunk.prompt_done;
    }
    recorders_[i].prefill(chunk, now());
    step_ += chunk.prompt_chunk;
    if (shows_progress_) progress_.chunk(read_, step_, to_read_);
  }

  /// The engine knows tokens only, and does not see that a text has come to a stop.
  void token(Engine& engine, std::int64_t i, const Scored& scored) {
    progress_.finish();
    if (input_.stream && i == shown_) shows_progress_ = false;
    AnswerRecorder& recorder = recorders_[i];
    show(i, recorder.token(scored, now()));
    if (recorder.ended_by_text()) engine.abort(ids_[i]);
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
  const JobOptions& job_;
  Clock::time_point began_;  // with the engine ready: seconds count from here
  PrefillProgress progress_;
  std::vector<AnswerRecorder> recorders_;
  std::vector<RequestId> ids_;  // of the engine
  std::int64_t shown_ = 0;
  std::int64_t to_read_ = 0;     // tokens of all prompts
  std::int64_t read_ = 0;        // of them by the steps that are over
  std::int64_t step_ = 0;        // of them in this one, as far as it was told
  bool shows_progress_ = false;  // of one group: changes between its steps only
};

}  // namespace

void run_prompts(Machine& machine, LoadedModel& model, const JobOptions& options,
                 const RunInput* input, RunResult& result) {
  if (!input) {
    Engine::open(machine, model, options, nullptr, nullptr);
    return;
  }
  Collector collector(*input, model, options);
  const EngineSetup setup = collector.setup();
  try {
    result.ranks = Engine::open(machine, model, options, &setup, [&](Engine& engine) {
      input->session ? collector.run_in_session(engine) : collector.run(engine);
    });
  } catch (...) {
    result.answers = collector.take();
    throw;
  }
  result.answers = collector.take();
}

}  // namespace longspan
