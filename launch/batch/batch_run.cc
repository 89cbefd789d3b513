#include "launch/batch/batch_run.h"

#include <ctime>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <variant>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"
#include "runtime/serving/openai_response.h"

namespace longspan {
namespace {

CompletionChoice choice_of(const Answer& answer) {
  return {.text = answer.text,
          .stopped = answer.stopped,
          .stop_id = answer.stop_id,
          .stop_text = answer.stop_text,
          .tokens = answer.tokens};
}

}  // namespace

BatchRun::BatchRun(BatchRunOptions options, const BatchRequests& requests, BatchFiles& files,
                   const BatchFiles::Survey& survey, AnswerInterrupt& interrupt)
    : options_(std::move(options)),
      requests_(requests),
      journal_(files.journal()),
      interrupt_(interrupt),
      input_(options_.input),
      start_(Clock::now()),
      counts_{.requests = survey.requests,
              .earlier = survey.requests - survey.left,
              .done = survey.requests - survey.left},
      progress_(options_.terminal, start_) {}

void BatchRun::serve(Engine& engine) {
  while (!interrupt_.leaving()) {
    if (interrupt_.ends_answer()) {
      drop_what_has_not_begun(engine);
      submit_what_may_wait(engine);
    } else {
      take_lines(engine);
    }
    show_progress(engine);
    if (!engine.step() && unsubmitted_.empty()) break;
  }
  counts_.fetched = engine.stats().fetched_tokens;
  counts_.copied = engine.stats().copied_tokens;
  cut_short_ |= !input_ended_ || !pending_.empty();
  progress_.finish();
}

/// As long as the engine takes what they ask for: those that may start at once, and between steps
/// one that will wait.
void BatchRun::take_lines(Engine& engine) {
  submit_what_may_wait(engine);
  while (unsubmitted_.empty() && !input_ended_ && !interrupt_.ends_answer()) {
    if (const auto line = input_.next()) {
      take(engine, *line);
      show_progress(engine);
      if (std::ssize(pending_) > options_.max_running) return;
    } else {
      input_ended_ = true;
    }
  }
}

void BatchRun::take(Engine& engine, const InputLine& input) {
  const LineName name{input.number, input.digest()};
  BatchLine line = read_batch_line(input, requests_.tokenizer().vocabulary());
  const auto [use, first] = custom_ids_.emplace(line.custom_id, input.number);
  if (!is_left(journal_, name, options_.retries_failed)) return;
  if (!first && !line.custom_id.empty()) {
    line.request.reset();
    line.error = invalid_value("custom_id", str("custom_id was used by line {} already; give each "
                                                "line its own",
                                                use->second))
                     .error();
  }
  if (!line.request) return fail(name, line.custom_id, line.error);
  warn_of_unknown(name, line.request->unknown);
  try {
    start(engine, name, line);
  } catch (const ApiRefusal& refused) {
    fail(name, line.custom_id, refused.error());
  }
}

void BatchRun::start(Engine& engine, const LineName& name, const BatchLine& line) {
  const CompletionRequest& request = *line.request;
  std::vector<RecordedRequest> answers =
      requests_.answers(request, seed_of_line(options_.seed, name.number), engine.room());
  Pending& pending = pending_[name.number];
  pending = {.name = name,
             .custom_id = line.custom_id,
             .endpoint = request.endpoint,
             .logprobs = request.logprobs,
             .created = std::time(nullptr),
             .open = answers.size(),
             .answers_per_prompt = static_cast<std::size_t>(request.n)};
  for (RecordedRequest& answer : answers) prepare(engine, pending, std::move(answer), request);
  submit_what_may_wait(engine);
}

/// `pending` stays where it is until its last answer is complete.
void BatchRun::prepare(Engine& engine, Pending& pending, RecordedRequest answer,
                       const CompletionRequest& asked) {
  constexpr std::size_t kTenantBytes = 256;  // users are told apart by that much of a name
  const std::size_t i = pending.answers.size() + unsubmitted_.size();
  const auto limit = answer.names_limit ? std::optional(answer.max_new) : std::nullopt;
  EngineRequest request{
      .prompt = answer.prompt,
      .sampling = answer.sampling,
      .max_new = limit,
      .top = asked.top_logprobs,
      .urgency = Urgency::kBatch,
      .tenant = asked.user.substr(0, kTenantBytes),
      .cache_salt = asked.cache_salt,
      .on_prefill = [this, &pending, i](const Progress& chunk) { note_prefill(pending, i, chunk); },
      .on_token = [this, &engine, &pending,
                   i](const Scored& scored) { note_token(engine, pending, i, scored); }};
  unsubmitted_.push_back({&pending, std::move(answer), std::move(request)});
}

/// In order. The rest waits here until the engine's queue is shorter.
void BatchRun::submit_what_may_wait(Engine& engine) {
  for (; !unsubmitted_.empty(); unsubmitted_.pop_front()) {
    auto& [to, answer, request] = unsubmitted_.front();
    const std::size_t i = to->answers.size(), choice = i % to->answers_per_prompt;
    if (choice > 0) request.like = to->ids[i - choice];
    const auto outcome = engine.try_submit(request);
    if (const Refusal* refusal = std::get_if<Refusal>(&outcome)) {
      if (refusal->reason != Refusal::Reason::kNeverFits) return;
      throw Error(ExitCode::kInternal, refusal->message);  // it was read for the engine's room
    }
    to->ids.push_back(std::get<RequestId>(outcome));
    if (choice == 0) to->prompt_tokens += std::ssize(answer.prompt);
    to->answers.emplace_back(std::move(answer), options_.readers, requests_.tokenizer());
  }
}

/// What has begun is much work done; what has not is none.
void BatchRun::drop_what_has_not_begun(Engine& engine) {
  if (std::exchange(stopping_, true)) return;
  for (auto request = pending_.begin(); request != pending_.end();) {
    if (request->second.begun) {
      ++request;
      continue;
    }
    for (const RequestId id : request->second.ids) engine.abort(id);
    std::erase_if(unsubmitted_,
                  [&](const Unsubmitted& answer) { return answer.to == &request->second; });
    cut_short_ = true;
    request = pending_.erase(request);
  }
  progress_.finish();
  if (pending_.empty()) return;
  std::cerr << str("longspan: finishing {} that {} begun; another Ctrl-C leaves at once\n",
                   count_text(pending_.size(), "request"), pending_.size() == 1 ? "is" : "are")
            << std::flush;
}

void BatchRun::note_prefill(Pending& request, std::size_t answer, const Progress& chunk) {
  request.begun = true;
  counts_.read += chunk.prompt_chunk;
  request.answers[answer].prefill(chunk, now());
}

/// The engine knows tokens only, and does not see that a text has come to a stop.
void BatchRun::note_token(Engine& engine, Pending& request, std::size_t answer,
                          const Scored& scored) {
  AnswerRecorder& recorder = request.answers[answer];
  recorder.token(scored, now());
  ++counts_.written;
  if (!recorder.answer().complete) return;
  if (recorder.ended_by_text()) engine.abort(request.ids[answer]);
  if (--request.open > 0) return;
  finish(request);
  pending_.erase(request.name.number);
}

/// The share of its tokens that each answer has read and written, of those that it may have.
double BatchRun::under_way() const {
  double sum = 0;
  for (const auto& [id, request] : pending_) {
    for (const AnswerRecorder& recorder : request.answers) {
      sum += recorder.done() / static_cast<double>(request.answers.size());
    }
  }
  return sum;
}

void BatchRun::show_progress(const Engine& engine) {
  counts_.under_way = under_way();
  const EngineStats stats = engine.stats();
  if (stats.kv_pages > 0) {
    counts_.kv_share = static_cast<double>(stats.kv_promised) / static_cast<double>(stats.kv_pages);
  }
  progress_.update(counts_, Clock::now());
}

void BatchRun::finish(const Pending& request) {
  const bool chat = request.endpoint == Endpoint::kChatCompletions;
  CompletionAnswer answer{.endpoint = request.endpoint,
                          .id = str("{}-{}", chat ? "chatcmpl" : "cmpl", request.name.text()),
                          .created = request.created,
                          .model = requests_.terms().names.front(),
                          .fingerprint = options_.fingerprint,
                          .logprobs = request.logprobs,
                          .prompt_tokens = request.prompt_tokens};
  for (std::size_t i = 0; i < request.answers.size(); ++i) {
    const Answer& one = request.answers[i].answer();
    answer.choices.push_back(choice_of(one));
    answer.completion_tokens += one.sampled;
    if (i % request.answers_per_prompt == 0) answer.cached_tokens += one.kept;
  }
  journal_.append(
      {.name = request.name, .failed = false},
      answer_line(request.name, request.custom_id, completion_body(answer, requests_.tokenizer())));
  ++counts_.done;
}

void BatchRun::fail(const LineName& name, const std::string& custom_id, ApiError error) {
  journal_.append({.name = name, .failed = true}, error_line(name, custom_id, std::move(error)));
  ++counts_.done;
  ++counts_.failed;
}

void BatchRun::warn_of_unknown(const LineName& name, const std::vector<std::string>& fields) {
  constexpr std::size_t kMostNames = 100;  // a stranger's file may have a new one in each line
  for (const std::string& field : fields) {
    if (told_of_.size() >= kMostNames || !told_of_.insert(field).second) continue;
    log(LogLevel::kWarning, str("line {}: the field {} is not known and changes nothing; said once",
                                name.number, nlohmann::json(field).dump()));
  }
}

}  // namespace longspan
