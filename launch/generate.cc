// `longspan generate`: every rank runs this; rank 0 also reads the prompts and talks to the user.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <memory>
#include <span>

#include "comm/agreement.h"
#include "comm/machine.h"
#include "comm/str.h"
#include "launch/answer_comparison.h"
#include "launch/answer_json.h"
#include "launch/chat_prompts.h"
#include "launch/commands.h"
#include "launch/device_defaults.h"
#include "launch/generate_run.h"
#include "launch/on_machine.h"
#include "launch/progress.h"
#include "launch/prompts.h"
#include "launch/run_setup.h"
#include "launch/session_keeper.h"
#include "launch/session_prompt.h"
#include "launch/terminal.h"
#include "launch/trace_recording.h"
#include "runtime/engine/load_model.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

/// Prompt and answer must fit the model's context. Unless asked for, --max-tokens gives way.
std::int64_t max_new_tokens(const GenerateOptions& options, std::int64_t prompt,
                            std::int64_t context, const std::string& which) {
  if (prompt >= context) {
    throw UsageError(
        str("{} has {} tokens, but the model's context is {}; shorten it to {} at most", which,
            prompt, context, context - 1));
  }
  const std::int64_t room = context - prompt;
  if (!options.max_tokens) return std::min<std::int64_t>(kDefaultMaxTokens, room);
  if (*options.max_tokens <= room) return *options.max_tokens;
  throw UsageError(str(
      "{} takes {} of the model's context tokens and --max-tokens is {}, together more than its "
      "{}; lower --max-tokens to {}",
      which, prompt, *options.max_tokens, context, room));
}

/// Keys are kept turned, so what turns them is fixed before the first is.
void say_length(const EngineRequest& request, const std::string& which) {
  std::cerr << str("longspan: {} is turned for a length of {} tokens, prompt and --max-tokens\n",
                   which, with_thousands(std::ssize(request.prompt) + *request.max_new));
}

void expect_room_for(std::int64_t min_tokens, std::int64_t max_new, const std::string& which) {
  if (min_tokens <= max_new) return;
  throw UsageError(str("--min-tokens must be from 0 to the {} tokens that may follow {}, not {}",
                       max_new, which, min_tokens));
}

std::vector<Prompt> prompts(const GenerateOptions& options, const Tokenizer& tokenizer) {
  std::vector<Prompt> list = read_prompts(options.prompt);
  if (options.chat.wraps) wrap_in_chat(list, options.chat, options.model, tokenizer);
  return list;
}

std::vector<EngineRequest> make_requests(const GenerateOptions& options, const Tokenizer& tokenizer,
                                         const ModelConfig& config, const Sampling& sampling,
                                         const std::vector<Prompt>& prompts) {
  std::vector<TokenId> forced;
  if (options.force_ids) {
    const std::string& file = *options.force_ids;
    forced = tokens_of({.text = {}, .ids = read_ids(file)}, tokenizer, file);
  }
  std::vector<EngineRequest> requests;
  for (const Prompt& prompt : prompts) {
    const std::string which =
        prompts.size() > 1 ? str("prompt {}", requests.size() / options.n + 1) : "the prompt";
    EngineRequest request{.prompt = tokens_of(prompt, tokenizer, which),
                          .forced = forced,
                          .sampling = sampling,
                          .top = options.logprobs};
    request.max_new = max_new_tokens(options, std::ssize(request.prompt), config.context, which);
    if (config.ropes.depend_on_length() && !options.json) say_length(request, which);
    expect_room_for(sampling.min_tokens, *request.max_new, which);
    for (int choice = 0; choice < options.n; ++choice) {
      request.sampling.choice = static_cast<std::uint32_t>(choice);
      request.wants_nll = options.prompt_nll && choice == 0;
      requests.push_back(request);
    }
  }
  return requests;
}

void print_logprobs(const Answer& answer, const Tokenizer& tokenizer) {
  for (const Scored& token : answer.tokens) {
    std::cout << str("{:>8} {:>10.5f}", token.chosen.id, token.chosen.logprob);
    for (const TokenScore& other : token.top) {
      std::cout << str("  {} {:.5f}", other.id, other.logprob);
    }
    const TokenId id = token.chosen.id;
    std::cout << str("  {}\n", tokenizer.decode({&id, 1}));
  }
}

/// "read 7,639 tokens in 18.4 s (415 tokens/s) over 4 ranks, wrote ..." for each answer; `which`
/// is "answer 2: " where there are several.
void print_summary(const Answer& answer, const RunFacts& run, const std::string& which) {
  if (answer.sampled == 0) {
    std::cerr << str("longspan: {}stopped before the prompt's {} tokens were read\n", which,
                     with_thousands(std::ssize(answer.prompt)));
    return;
  }
  std::string line = str("longspan: {}", which);
  if (answer.read == 0) {
    line += str("went on from the {} tokens of the prompt", with_thousands(answer.kept));
  } else {
    if (answer.kept > 0) line += str("kept {} tokens, ", with_thousands(answer.kept));
    line += str("read {} tokens in {:.2f} s ({:.0f} tokens/s) over {}", with_thousands(answer.read),
                answer.prefill_s(), answer.prefill_tokens_per_s(), ranks_text(run.degree, run.tp));
  }
  line += str(", wrote {} tokens in {:.2f} s", answer.tokens.size(), answer.decode_s());
  if (answer.sampled > 1) line += str(" ({:.1f} tokens/s)", answer.decode_tokens_per_s());
  if (const auto nll = answer.prompt_nll()) line += str("; prompt nll {:.5f} nats a token", *nll);
  if (run.attention != AttentionKind::kExact) {
    line += str("; approximate ({} attention)", name(run.attention));
  }
  std::cerr << line << std::endl;
}

/// That may be under way at once. Answers to one prompt share what is read of it: one group.
int most_sequences(const GenerateOptions& options) {
  return options.prompt.kind == PromptKind::kLines ? options.max_num_seqs : 1;
}

/// Rank 0's side of a command: what it reads once and what it shows for each degree.
class Conversation {
 public:
  Conversation(const GenerateOptions& options, const LoadedModel& model, RunInput input)
      : options_(options), model_(model), input_(std::move(input)) {}

  const RunInput& input() const { return input_; }

  ExitCode show(const RunResult& result, const RunFacts& facts) {
    print(result.answers, facts, result.ranks);
    return compare(result, facts);
  }

  /// What a failed run leaves: the answers up to the last one that was begun.
  void show_failed(const RunResult& result, const RunFacts& facts) {
    print(std::span(result.answers).first(begun(result.answers)), facts, result.ranks);
  }

 private:
  void print(std::span<const Answer> answers, RunFacts facts,
             const std::vector<RankSummary>& ranks) {
    facts.ranks = ranks;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const Answer& answer = answers[i];
      if (options_.json) {
        std::cout << answer_json(answer, facts) << std::endl;
      } else {
        if (options_.logprobs > 0) print_logprobs(answer, model_.tokenizer);
        const bool alone = input_.requests.size() == 1;
        print_summary(answer, facts, alone ? "" : str("answer {}: ", i + 1));
      }
    }
  }

  ExitCode compare(const RunResult& result, const RunFacts& facts) {
    const int degree = facts.degree;
    if (options_.compare_degrees.empty()) return ExitCode::kClean;
    const bool complete = std::ranges::all_of(result.answers, &Answer::complete);
    if (!complete) return ExitCode::kClean;  // interrupted: shorter, not different
    if (first_.empty()) {
      first_ = result.answers;
      first_degree_ = degree;
      return ExitCode::kClean;
    }
    bool same = true;
    for (std::size_t i = 0; i < first_.size(); ++i) {
      const auto difference = first_difference(first_[i], result.answers[i]);
      if (!difference) continue;
      std::cerr << str("longspan: prompt {}: degree {} differs from degree {} at token {}",
                       i / options_.n + 1, degree, first_degree_, difference->token);
      if (!difference->allowed()) {
        std::cerr << str(", where the draw was {:.1e} from another outcome{}\n", difference->margin,
                         facts.dtype == name(Precision::kBFloat16)
                             ? "; products in bfloat16 differ by more than that: --dtype float32 "
                               "tells whether degrees agree"
                             : "")
                  << std::flush;
        return ExitCode::kDiffers;
      }
      std::cerr << str(", where the draw was {:.1e} from another outcome: both are right\n",
                       difference->margin);
      same = false;
    }
    if (same) {
      std::cerr << str("longspan: degree {} gives the same tokens as degree {}\n", degree,
                       first_degree_);
    }
    return ExitCode::kClean;
  }

  const GenerateOptions& options_;
  const LoadedModel& model_;
  RunInput input_;
  std::vector<Answer> first_;
  int first_degree_ = 0;
};

/// All that can be refused is refused before the weights are read, unless the prompt comes from
/// standard input: a person who types it should find the model ready.
ExitCode generate_on(Machine& machine, const GenerateOptions& asked,
                     const std::atomic<bool>& interrupted) {
  const auto start = Clock::now();
  const GenerateOptions options =
      agree_on(machine.control(), [&] { return suited_to(machine.backend(), asked); });
  std::optional<TraceRecording> trace;
  if (options.trace) trace.emplace(machine, *options.trace);
  expect_kv_disk(machine, options);
  const bool coordinator = machine.rank() == 0;
  const bool late = options.prompt.from_standard_input();

  OpenedModel opened = open_asked(machine, options);
  const std::vector<Split> split_list =
      splits(machine, options, opened.config, most_sequences(options));
  const Precision precision = agreed_precision(machine, options.dtype);
  std::optional<SessionKeeper> keeper;
  std::vector<ChatMessage> messages;  // of a session's conversation
  const auto read_prompts_of = [&](const Tokenizer& tokenizer) {
    if (!keeper) return prompts(options, tokenizer);
    SessionPrompt read = session_prompt(options, keeper->found(), tokenizer);
    messages = std::move(read.messages);
    return std::vector{std::move(read.whole)};
  };
  Sampling sampling;
  std::vector<EngineRequest> requests = agree_on(machine.control(), [&] {
    if (coordinator) sampling = make_sampling(options, opened.tokenizer);
    if (coordinator && options.session) {
      keeper.emplace(options, opened, kv_type(options, precision));
    }
    if (!coordinator || late) return std::vector<EngineRequest>();
    return make_requests(options, opened.tokenizer, opened.config, sampling,
                         read_prompts_of(opened.tokenizer));
  });
  const std::string manifest = manifest_word(options, opened);
  LoadedModel model = load_with_bar(machine, options, std::move(opened), precision);
  const auto loaded = Clock::now();
  if (coordinator) say_loaded(options, model, seconds_between(start, loaded), manifest);
  if (late) {
    requests = agree_on(machine.control(), [&] {
      if (!coordinator) return std::vector<EngineRequest>();
      return make_requests(options, model.tokenizer, model.config, sampling,
                           read_prompts_of(model.tokenizer));
    });
  }

  std::vector<MachineRates> rates;  // of each split
  for (const Split& split : split_list) {
    rates.push_back(machine_rates(machine, options, *model.kernels, split));
  }
  std::optional<Conversation> talk;
  if (coordinator) {
    talk.emplace(options, model,
                 RunInput{.requests = std::move(requests),
                          .n = options.n,
                          .stop_texts = options.sampling.stop_texts,
                          .interrupted = &interrupted,
                          .session = keeper ? &*keeper : nullptr,
                          .messages = std::move(messages),
                          .stream = !options.json,
                          .progress = !options.json || shows_on_terminal(STDERR_FILENO)});
  }
  ExitCode code = ExitCode::kClean;
  for (std::size_t i = 0; i < split_list.size(); ++i) {
    const Split& split = split_list[i];
    const RunFacts facts = run_facts(options, model, split.degree, precision, sampling,
                                     seconds_between(start, loaded), manifest);
    RunResult result;
    if (coordinator) say_groups(options, split);
    try {
      run_prompts(machine, model, job_options(machine, options, split, rates[i], precision),
                  talk ? &talk->input() : nullptr, result);
    } catch (...) {
      if (talk) talk->show_failed(result, facts);
      throw;
    }
    const std::optional<Failure> failure = keeper ? keeper->failure() : std::nullopt;
    const bool has_answers = !failure || begun(result.answers) > 0;  // a save may fail behind them
    if (talk && has_answers && talk->show(result, facts) != ExitCode::kClean) {
      code = ExitCode::kDiffers;
    }
    if (options.session) agree(machine.control(), failure);
    if (any_rank(machine.control(), interrupted)) {
      code = ExitCode::kInterrupted;
      break;
    }
  }
  if (trace) trace->finish(!options.json);
  return code;
}

}  // namespace

ExitCode generate(const GenerateOptions& options) {
  return on_machine(machine_request(options),
                    [&](Machine& machine, const std::atomic<bool>& interrupted) {
                      return generate_on(machine, options, interrupted);
                    });
}

}  // namespace longspan
