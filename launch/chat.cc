// `longspan chat`: every rank runs this; rank 0 also talks to the user.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>

#include "comm/agreement.h"
#include "comm/error.h"
#include "comm/machine.h"
#include "comm/str.h"
#include "launch/answer_interrupt.h"
#include "launch/chat_talk.h"
#include "launch/commands.h"
#include "launch/device_defaults.h"
#include "launch/on_machine.h"
#include "launch/run_setup.h"
#include "launch/session_keeper.h"
#include "launch/terminal.h"
#include "launch/trace_recording.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

/// Tokens of the whole conversation, unless memory holds fewer.
std::int64_t wanted_room(const GenerateOptions& options, const ModelConfig& model) {
  const std::int64_t room = options.max_model_len.value_or(model.context);
  if (room <= model.context) return room;
  throw UsageError(str("--max-model-len is {}, but the model's context is {}; lower it to that",
                       room, model.context));
}

/// What only rank 0 needs, from files of the model.
struct Words {
  ChatWording wording;
  Sampling sampling;
};

Words words_of(const GenerateOptions& options, const OpenedModel& model) {
  if (options.chat.system) expect_utf8(*options.chat.system, "--system");
  Words words{ChatWording(options.model, model.tokenizer), make_sampling(options, model.tokenizer)};
  const std::int64_t most = options.max_tokens.value_or(kDefaultAnswerTokens);
  if (words.sampling.min_tokens > most) {
    throw UsageError(str("--min-tokens must be from 0 to the {} tokens of an answer, not {}", most,
                         words.sampling.min_tokens));
  }
  return words;
}

void say_room(const GenerateOptions& options, const ModelConfig& model, std::int64_t room) {
  if (options.json) return;
  const bool gave_way = !options.max_model_len && room < model.context;
  std::cerr << str("longspan: room for a conversation of {} tokens{}{}\n", with_thousands(room),
                   gave_way ? ", as many as memory holds" : "",
                   model.ropes.depend_on_length() ? ", for which positions are turned" : "");
}

ChatTalkOptions talk_options(const GenerateOptions& options) {
  return {.system = options.chat.system,
          .max_tokens = options.max_tokens.value_or(kDefaultAnswerTokens),
          .top = options.logprobs,
          .stop_texts = options.sampling.stop_texts,
          .json = options.json,
          .terminal = reads_from_terminal()};
}

ExitCode chat_on(Machine& machine, const GenerateOptions& asked, AnswerInterrupt& interrupt) {
  const auto start = Clock::now();
  const GenerateOptions options =
      agree_on(machine.control(), [&] { return suited_to(machine.backend(), asked); });
  const bool coordinator = machine.rank() == 0;
  if (!coordinator) interrupt.leave_to_rank_0();
  std::optional<TraceRecording> trace;
  if (options.trace) trace.emplace(machine, *options.trace);

  OpenedModel opened = open_asked(machine, options);
  const Split split = splits(machine, options, opened.config, 1).front();
  const std::int64_t room =
      agree_on(machine.control(), [&] { return wanted_room(options, opened.config); });
  const Precision precision = agreed_precision(machine, options.dtype);
  std::optional<Words> words;
  std::optional<SessionKeeper> keeper;
  agree_on(machine.control(), [&] {
    if (coordinator) words = words_of(options, opened);
    if (coordinator && options.session) {
      keeper.emplace(options, opened, kv_type(options, precision));
    }
    return 0;
  });
  const std::string manifest = manifest_word(options, opened);
  LoadedModel model = load_with_bar(machine, options, std::move(opened), precision);
  const double load_s = std::chrono::duration<double>(Clock::now() - start).count();
  if (coordinator) say_loaded(options, model, load_s, manifest);
  if (coordinator) say_groups(options, split);
  const MachineRates rates = machine_rates(machine, options, *model.kernels, split);

  std::optional<ChatTalk> talk;
  EngineSetup setup{.shapes = {{.room = room}}, .room_gives_way = !options.max_model_len};
  if (coordinator) {
    talk.emplace(
        talk_options(options),
        run_facts(options, model, split.degree, precision, words->sampling, load_s, manifest),
        model, words->wording, interrupt, keeper ? &*keeper : nullptr);
    setup.layer = talk->layer_done();
  }
  Engine::open(machine, model, job_options(machine, options, split, rates, precision),
               coordinator ? &setup : nullptr, [&](Engine& engine) {
                 say_room(options, model.config, engine.room());
                 talk->run(engine);
               });
  if (options.session) agree(machine.control(), keeper ? keeper->failure() : std::nullopt);
  if (trace) trace->finish(!options.json);
  return any_rank(machine.control(), interrupt.leaving()) ? ExitCode::kInterrupted
                                                          : ExitCode::kClean;
}

}  // namespace

ExitCode chat(const ConversationOptions& options) {
  AnswerInterrupt interrupt;
  const GenerateOptions& run = options.run;
  return on_machine(machine_request(run),
                    [&](Machine& machine) { return chat_on(machine, run, interrupt); });
}

}  // namespace longspan
