// `longspan run-batch`: every rank runs this; rank 0 also holds the files.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "comm/agreement.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/machine.h"
#include "comm/str.h"
#include "launch/answer_interrupt.h"
#include "launch/batch/batch_files.h"
#include "launch/batch/batch_requests.h"
#include "launch/batch/batch_run.h"
#include "launch/batch/batch_terms.h"
#include "launch/commands.h"
#include "launch/device_defaults.h"
#include "launch/on_machine.h"
#include "launch/run_setup.h"
#include "launch/terminal.h"
#include "launch/trace_recording.h"
#include "launch/version.h"
#include "runtime/engine/engine.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::int64_t fresh_seed() {
  std::random_device device;
  return static_cast<std::int64_t>((std::uint64_t{device()} << 32 | device()) >> 1);
}

/// "longspan-0.1.0-3f2a91c"
std::string fingerprint() {
  std::string name = "longspan-" + build_name();
  std::ranges::replace(name, ' ', '-');
  return name;
}

void say_torn(const RunBatchOptions& options, std::size_t lines) {
  if (lines == 0) return;
  std::cerr << str("longspan: {} of {} torn, as by a crash: answering what is missing again\n",
                   count_text(lines, "line"), options.output);
}

/// What rank 0 alone has.
struct Desk {
  explicit Desk(const RunBatchOptions& options) : files(options) {}

  /// Once the model is open: refuses what would not go on as it was begun.
  void begin(const RunBatchOptions& options, const OpenedModel& opened, Precision precision) {
    terms = batch_terms(options, opened);
    const std::int64_t fresh =
        options.run.sampling.seed ? *options.run.sampling.seed : fresh_seed();
    seed = files.begin(batch_facts(options, opened, terms, precision), fresh);
    say_torn(options, files.journal().torn());
    survey = files.survey();
  }

  BatchFiles files;
  BatchTerms terms;
  std::int64_t seed = 0;
  BatchFiles::Survey survey;
};

/// A batch may run for days beside others, and lines and answers are held too: unless somebody says
/// how much to take, a tenth of what the host has left stays free.
JobOptions with_memory_to_spare(Machine& machine, const LoadedModel& model, JobOptions job) {
  if (job.memory_limit || machine.device_memory_left()) return job;
  job.memory_limit = model.host_weight_bytes + available_host_memory() / 10 * 9;
  return job;
}

void say_room(std::int64_t wanted, std::int64_t room) {
  if (room == wanted) return;
  std::cerr << str("longspan: room for requests of {} tokens, as many as memory holds\n",
                   with_thousands(room));
}

void say_end(const RunBatchOptions& options, const BatchCounts& counts, bool cut_short,
             double seconds) {
  const std::int64_t here = counts.done - counts.earlier;
  std::string line = str("longspan: {} of {} in {}: {} answered now", with_thousands(counts.done),
                         count_text(static_cast<std::size_t>(counts.requests), "request"),
                         options.output, with_thousands(here - counts.failed));
  if (counts.earlier > 0) line += str(", {} before", with_thousands(counts.earlier));
  if (counts.failed > 0) line += str(", {} failed: see \"error\"", with_thousands(counts.failed));
  line += str("; read {} tokens", with_thousands(counts.read));
  if (options.run.kv_disk || options.run.kv_host_bytes > 0) {
    line += str(" and brought back {}", with_thousands(counts.fetched));
  }
  if (counts.copied > 0) line += str(", {} from another group", with_thousands(counts.copied));
  line += str(", wrote {} in {:.1f} s", with_thousands(counts.written), seconds);
  if (cut_short) line += "; the same command goes on from there";
  std::cerr << line + "\n" << std::flush;
}

/// All lines are answered.
void put_in_order(Desk& desk) {
  const std::size_t gone = desk.files.journal().put_in_order(desk.survey.last);
  if (gone == 0) return;
  std::cerr << str(
      "longspan: {} left out of the output: of lines that were answered again since, or that the "
      "input no longer has\n",
      count_text(gone, "older answer"));
}

/// Whether earlier runs have answered every line; then the model need not be read. Every rank calls
/// it; `desk`: on rank 0.
bool is_done_already(Machine& machine, const RunBatchOptions& options, Desk* desk) {
  const bool has_work = any_rank(machine.control(), desk && desk->survey.left > 0);
  if (has_work) return false;
  agree_on(machine.control(), [&] {
    if (!desk) return 0;
    put_in_order(*desk);
    std::cerr << str("longspan: nothing is left to do: {} in {}\n",
                     count_text(static_cast<std::size_t>(desk->survey.requests), "request"),
                     options.output);
    return 0;
  });
  return true;
}

/// Rank 0's part of a run with lines left. Whether it was cut short.
bool serve(Machine& machine, const RunBatchOptions& options, LoadedModel& model, const Split& split,
           const JobOptions& job, Desk& desk, AnswerInterrupt& interrupt) {
  const auto start = Clock::now();
  const BatchRequests requests(desk.terms, options.run.model, model.tokenizer);
  BatchRun run({.input = options.input,
                .retries_failed = options.retry_failed,
                .seed = desk.seed,
                .max_running = job.max_running,
                .fingerprint = fingerprint(),
                .readers = {.degree = split.degree, .layers = model.config.layers},
                .terminal = shows_on_terminal(STDERR_FILENO)},
               requests, desk.files, desk.survey, interrupt);
  const std::int64_t room = desk.terms.context;
  const EngineSetup setup{
      .shapes = std::vector<RequestShape>(static_cast<std::size_t>(job.max_running),
                                          RequestShape{.room = room}),
      .room_gives_way = !options.run.max_model_len,
      .queue = options.queue,
      .layer = nullptr};
  Engine::open(machine, model, job, &setup, [&](Engine& engine) {
    say_room(room, engine.room());
    interrupt.begin_answer();
    run.serve(engine);
    interrupt.end_answer();
    desk.files.journal().sync();
    if (!run.cut_short()) put_in_order(desk);
  });
  say_end(options, run.counts(), run.cut_short(), seconds_since(start));
  return run.cut_short();
}

/// A rank that is lost or hangs ends the run, and no answer with it: whichever rank notices says
/// so.
template <typename Work>
void keeping_answers(const RunBatchOptions& options, Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    if (error.code() != ExitCode::kTemporary) throw;
    CommError lost(
        str("{}; answers that were written are kept in {}: the same command goes on from there",
            error.what(), options.output));
    if (error.everywhere()) lost.thrown_everywhere();
    throw lost;
  }
}

ExitCode run_batch_on(Machine& machine, const RunBatchOptions& asked, AnswerInterrupt& interrupt) {
  const auto start = Clock::now();
  RunBatchOptions options = asked;
  options.run =
      agree_on(machine.control(), [&] { return suited_to(machine.backend(), asked.run); });
  const bool coordinator = machine.rank() == 0;
  if (!coordinator) interrupt.leave_to_rank_0();
  std::optional<Desk> desk;
  agree_on(machine.control(), [&] {
    if (coordinator) desk.emplace(options);
    return 0;
  });
  std::optional<TraceRecording> trace;
  if (options.run.trace) trace.emplace(machine, *options.run.trace);
  expect_kv_disk(machine, options.run);

  OpenedModel opened = open_asked(machine, options.run);
  const Split split = splits(machine, options.run, opened.config, options.run.max_num_seqs).front();
  const Precision precision = agreed_precision(machine, options.run.dtype);
  agree_on(machine.control(), [&] {
    if (coordinator) desk->begin(options, opened, precision);
    return 0;
  });
  if (is_done_already(machine, options, desk ? &*desk : nullptr)) return ExitCode::kClean;

  const std::string manifest = manifest_word(options.run, opened);
  LoadedModel model = load_with_bar(machine, options.run, std::move(opened), precision);
  if (coordinator) say_loaded(options.run, model, seconds_since(start), manifest);
  if (coordinator) say_groups(options.run, split);
  const MachineRates rates = machine_rates(machine, options.run, *model.kernels, split);
  JobOptions job = with_memory_to_spare(machine, model,
                                        job_options(machine, options.run, split, rates, precision));
  job.memory = options.admission;
  bool cut_short = false;
  keeping_answers(options, [&] {
    if (coordinator) {
      cut_short = serve(machine, options, model, split, job, *desk, interrupt);
    } else {
      Engine::open(machine, model, job, nullptr, nullptr);
    }
  });
  if (trace) trace->finish(true);
  return any_rank(machine.control(), cut_short) ? ExitCode::kInterrupted : ExitCode::kClean;
}

}  // namespace

ExitCode run_batch(const RunBatchOptions& options) {
  AnswerInterrupt interrupt;
  const GenerateOptions& run = options.run;
  return on_machine(machine_request(run),
                    [&](Machine& machine) { return run_batch_on(machine, options, interrupt); });
}

}  // namespace longspan
