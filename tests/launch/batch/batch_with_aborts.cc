// `longspan run-batch` where answers are aborted: of four one, at a moment of its life that is
// drawn by --policy-seed and the line's number. For scripts/check-elastic.
//
//   mpirun -np 4 batch_with_aborts run-batch MODEL -i FILE.jsonl -o FILE.jsonl [options]
//
// An aborted answer has the tokens that came before, and the finish_reason "aborted while waiting",
// "reading" or "answering", which is as far as it came: the last chunk of a prompt is read with its
// first token. One of several may not come to its moment: it is not read where the first was. Lines
// are written as they end, and those that the output has already are passed over.
#include <algorithm>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "comm/agreement.h"
#include "comm/error.h"
#include "comm/str.h"
#include "launch/batch/batch_input.h"
#include "launch/batch/batch_line.h"
#include "launch/batch/batch_requests.h"
#include "launch/brief_waits.h"
#include "launch/device_defaults.h"
#include "launch/run_setup.h"
#include "runtime/engine/engine.h"
#include "runtime/serving/openai_response.h"

namespace longspan {
namespace {

enum class Phase { kWaiting, kReading, kAnswering };

std::string ending_of(Phase phase) {
  constexpr const char* kNames[] = {"waiting", "reading", "answering"};
  return str("aborted while {}", kNames[static_cast<int>(phase)]);
}

struct Moment {
  Phase phase = Phase::kWaiting;
  std::int64_t at = 0;  // steps that it waits, else tokens
};

/// Any of its life: some steps of waiting, its prompt but for the last `chunk` tokens, its answer.
std::optional<Moment> drawn_moment(std::mt19937_64& random, const RecordedRequest& request,
                                   std::int64_t chunk) {
  constexpr std::int64_t kWaits = 16;
  const auto below = [&](std::int64_t bound) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(bound));
  };
  if (below(4) > 0) return std::nullopt;
  const std::int64_t reads = std::max<std::int64_t>(std::ssize(request.prompt) - chunk, 1);
  const std::int64_t at = below(kWaits + reads + request.max_new);
  if (at < kWaits) return Moment{Phase::kWaiting, at};
  if (at < kWaits + reads) return Moment{Phase::kReading, at - kWaits};
  return Moment{Phase::kAnswering, 1 + at - kWaits - reads};
}

class BatchWithAborts {
 public:
  /// Borrows `requests`.
  BatchWithAborts(const RunBatchOptions& options, const BatchRequests& requests, Readers readers)
      : options_(options), requests_(requests), readers_(readers), input_(options.input) {
    keep_whole_lines();
  }

  void serve(Engine& engine) {
    do {
      while (!input_ended_ && std::ssize(lines_) < 2 * options_.run.max_num_seqs) take(engine);
      for (auto& [number, line] : lines_) {
        for (OpenAnswer& one : line.answers) note(engine, one, Phase::kWaiting, one.waits++);
      }
    } while (engine.step() || !input_ended_);
    expects(lines_.empty(), "an engine with nothing to do has finished all");
  }

 private:
  struct OpenAnswer {
    AnswerRecorder recorder;
    std::optional<Moment> moment;  // that is still to come
    RequestId id = 0;
    Phase phase = Phase::kWaiting;
    std::int64_t waits = 0;  // steps
    bool aborted = false;
  };

  struct OpenLine {
    LineName name;
    BatchLine line;
    std::deque<OpenAnswer> answers;
    std::size_t open = 0;
  };

  /// A run that was killed may have left the beginning of a line.
  void keep_whole_lines() {
    std::string kept, line;
    for (std::ifstream before(options_.output); std::getline(before, line);) {
      const std::optional<AnsweredLine> answered = read_answered_line(line);
      if (answered && done_.emplace(answered->name.number, answered->name.digest).second) {
        kept += line + "\n";
      }
    }
    output_.open(options_.output);
    write(kept);
  }

  void write(const std::string& lines) {
    if (!(output_ << lines << std::flush))
      throw IoError(str("{} cannot be written", options_.output));
  }

  void take(Engine& engine) {
    const std::optional<InputLine> input = input_.next();
    input_ended_ = !input;
    if (!input || done_.contains({input->number, input->digest()})) return;
    const LineName name{input->number, input->digest()};
    BatchLine line = read_batch_line(*input, requests_.tokenizer().vocabulary());
    if (!line.request) return write(error_line(name, line.custom_id, line.error));
    const std::int64_t seed = seed_of_line(options_.run.policy_seed, name.number);
    try {
      std::vector<RecordedRequest> answers = requests_.answers(*line.request, seed, engine.room());
      std::mt19937_64 random(static_cast<std::uint64_t>(seed));
      OpenLine& open = lines_[name.number];
      open = {.name = name, .line = std::move(line), .answers = {}, .open = answers.size()};
      for (RecordedRequest& answer : answers) submit(engine, open, random, std::move(answer));
    } catch (const ApiRefusal& refused) {
      write(error_line(name, line.custom_id, refused.error()));
    }
  }

  /// Answers are of one prompt.
  void submit(Engine& engine, OpenLine& line, std::mt19937_64& random, RecordedRequest asked) {
    EngineRequest request{.prompt = asked.prompt,
                          .sampling = asked.sampling,
                          .max_new = asked.max_new,
                          .top = line.line.request->top_logprobs,
                          .urgency = Urgency::kBatch};
    if (!line.answers.empty()) request.like = line.answers.front().id;
    const std::optional<Moment> moment =
        drawn_moment(random, asked, options_.run.prefill_chunk.value_or(std::ssize(asked.prompt)));
    OpenAnswer& answer = line.answers.emplace_back(
        AnswerRecorder(std::move(asked), readers_, requests_.tokenizer()), moment);
    request.on_prefill = [this, &engine, &answer](const Progress& chunk) {
      answer.recorder.prefill(chunk, 0);
      note(engine, answer, Phase::kReading, chunk.prompt_done + chunk.prompt_chunk - 1);
    };
    request.on_token = [this, &engine, &answer](const Scored& token) {
      answer.recorder.token(token, 0);
      note(engine, answer, Phase::kAnswering, answer.recorder.answer().sampled);
    };
    request.on_finished = [this, &line, &answer](const Finish& finish) {
      if (finish.ending != Ending::kAborted) answer.aborted = false;
      if (--line.open == 0) finish_line(line);
    };
    answer.id = engine.submit(std::move(request));
  }

  /// The answer has come so far: aborts it, if this is when it is to be.
  void note(Engine& engine, OpenAnswer& answer, Phase phase, std::int64_t at) {
    answer.phase = std::max(answer.phase, phase);
    if (!answer.moment || answer.moment->phase != phase || answer.phase != phase) return;
    if (at < answer.moment->at) return;
    answer.moment.reset();
    answer.aborted = true;
    engine.abort(answer.id);
  }

  void finish_line(const OpenLine& line) {
    CompletionAnswer written{.id = "cmpl-" + line.name.text(),
                             .model = requests_.terms().names.front(),
                             .logprobs = line.line.request->logprobs};
    for (const OpenAnswer& one : line.answers) {
      const Answer& answer = one.recorder.answer();
      written.choices.push_back({.text = answer.text,
                                 .stopped = answer.stopped,
                                 .stop_id = answer.stop_id,
                                 .stop_text = answer.stop_text,
                                 .tokens = answer.tokens});
      written.completion_tokens += answer.sampled;
    }
    const Answer& first = line.answers.front().recorder.answer();
    written.prompt_tokens = std::ssize(first.prompt);
    written.cached_tokens = first.kept;
    auto body = completion_body(written, requests_.tokenizer());
    for (std::size_t i = 0; i < line.answers.size(); ++i) {
      const OpenAnswer& one = line.answers[i];
      if (one.aborted) body["choices"][i]["finish_reason"] = ending_of(one.phase);
    }
    write(answer_line(line.name, line.line.custom_id, body));
    lines_.erase(line.name.number);
  }

  const RunBatchOptions& options_;
  const BatchRequests& requests_;
  const Readers readers_;
  BatchInput input_;
  std::ofstream output_;
  std::set<std::pair<std::int64_t, std::uint64_t>> done_;  // number and digest, by earlier runs
  std::map<std::int64_t, OpenLine> lines_;                 // by number
  bool input_ended_ = false;
};

ExitCode answer_on(Machine& machine, RunBatchOptions options) {
  options.run =
      agree_on(machine.control(), [&] { return suited_to(machine.backend(), options.run); });
  OpenedModel opened = open_asked(machine, options.run);
  const Split split = splits(machine, options.run, opened.config, options.run.max_num_seqs).front();
  const Precision precision = agreed_precision(machine, options.run.dtype);
  const BatchTerms terms = batch_terms(options, opened);
  LoadedModel model = load_with_bar(machine, options.run, std::move(opened), precision);
  const MachineRates rates = machine_rates(machine, options.run, *model.kernels, split);
  const JobOptions job = job_options(machine, options.run, split, rates, precision);
  if (machine.rank() != 0) {
    Engine::open(machine, model, job, nullptr, nullptr);
    return ExitCode::kClean;
  }
  const BatchRequests requests(terms, options.run.model, model.tokenizer);
  BatchWithAborts batch(options, requests, {.degree = split.degree, .layers = model.config.layers});
  const EngineSetup setup{.shapes = std::vector<RequestShape>(
                              static_cast<std::size_t>(job.max_running), {.room = terms.context}),
                          .queue = QueueBounds::none()};
  Engine::open(machine, model, job, &setup, [&](Engine& engine) { batch.serve(engine); });
  return ExitCode::kClean;
}

ExitCode run(const std::vector<std::string>& words) {
  try {
    const Command command = parse_command_line(words, process_environment);
    const auto* options = std::get_if<RunBatchOptions>(&command);
    if (!options) throw UsageError("the command is run-batch");
    return on_machine(machine_request(options->run),
                      [&](Machine& machine) { return answer_on(machine, *options); });
  } catch (const Error& error) {
    std::cerr << str("batch_with_aborts: {}\n", error.what()) << std::flush;
    return error.code();
  }
}

}  // namespace
}  // namespace longspan

int main(int argc, char** argv) {
  longspan::start_again_with_brief_waits(argv);
  longspan::leave_now(longspan::run({argv + 1, argv + argc}));
}
