// `longspan bench model`: every rank runs the model, rank 0 looks at the clock and tells.
#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "comm/agreement.h"
#include "comm/str.h"
#include "launch/bench/bench_head.h"
#include "launch/bench/bench_machine.h"
#include "launch/bench/memory_yardsticks.h"
#include "launch/bench/model_figures.h"
#include "launch/commands.h"
#include "launch/device_defaults.h"
#include "launch/progress.h"
#include "launch/run_setup.h"
#include "launch/terminal.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

/// Prompts that leave the model's context room for an answer: those asked for, or the usual ones
/// that do, or the longest that does.
std::vector<std::int64_t> lengths(const BenchModelOptions& options, Backend backend,
                                  std::int64_t context) {
  const std::int64_t room = context - options.answer;
  if (room < 1) {
    throw UsageError(
        str("--answer {} leaves no room for a prompt in the model's context of {} tokens; lower it "
            "to {} at most",
            options.answer, context, context - 1));
  }
  for (const std::int64_t length : options.tokens) {
    if (length <= room) continue;
    throw UsageError(str(
        "a prompt of {} tokens and --answer {} are together more than the model's context of {}; "
        "lower --tokens to {} at most",
        length, options.answer, context, room));
  }
  if (!options.tokens.empty()) return options.tokens;
  std::vector<std::int64_t> usual = backend == Backend::kCuda
                                        ? std::vector<std::int64_t>{4096, 32768}
                                        : std::vector<std::int64_t>{128, 512};
  std::erase_if(usual, [&](std::int64_t length) { return length > room; });
  return usual.empty() ? std::vector{room} : usual;
}

/// What is told of a run beside its figures.
struct ModelReport {
  BenchHead head;
  std::string model;  // as it was named
  Precision precision{};
  KvType kv{};
  Backend backend{};
  ModelSplit split;
  ModelRuns runs;
  double weight_bytes = 0;  // of the matrices of the whole model
  ModelRates rates;
};

std::string table_head(const ModelReport& report) {
  const ModelRates& rates = report.rates;
  const std::string_view verb = MemoryYardstick::verb(report.backend);
  std::string memory =
      str("{} memory, {:.2f} GB/s on each rank", verb, 1e-9 * rates.key_bytes_per_second);
  if (report.split.weight_readers() < report.split.ranks()) {
    memory += str(", {:.2f} where the others do not", 1e-9 * rates.weight_bytes_per_second);
  }
  return str(
      "{}\n{}: {} matrices, keys in {}, {}; random prompts, answers of {} tokens; median of {} "
      "runs "
      "after a warm-up\nyardsticks: a matrix product, {:.1f} GFLOP/s on all ranks; {}\n{:>8} "
      "{:>10} "
      "{:>9} {:>10} {:>6} {:>7} {:>11} {:>10} {:>6} {:>7}\n",
      describe(report.head), report.model, name(report.precision), name(report.kv),
      name(report.split.decode), report.runs.answer, report.runs.repeat - 1,
      1e-9 * rates.flop_per_second, memory, "tokens", "read", "tokens/s", "yardstick", "ratio",
      "spread", "token", "yardstick", "ratio", "spread");
}

std::string table_row(const ModelFigure& figure) {
  return str(
      "{:>8} {:>8.4f} s {:>9.1f} {:>8.4f} s {:>6.2f} {:>5.1f} % {:>8.3f} ms {:>7.3f} ms {:>6.2f} "
      "{:>5.1f} %\n",
      figure.tokens, figure.read.seconds, figure.tokens_per_second(), figure.read_yardstick,
      figure.read_ratio(), 100 * figure.read.spread, 1e3 * figure.token.seconds,
      1e3 * figure.token_yardstick, figure.token_ratio(), 100 * figure.token.spread);
}

json figure_json(const ModelFigure& figure) {
  return {{"tokens", figure.tokens},
          {"read",
           {{"seconds", figure.read.seconds},
            {"spread", figure.read.spread},
            {"runs", figure.read.runs},
            {"tokens_per_s", figure.tokens_per_second()},
            {"yardstick_s", figure.read_yardstick},
            {"ratio", figure.read_ratio()}}},
          {"token",
           {{"seconds", figure.token.seconds},
            {"spread", figure.token.spread},
            {"runs", figure.token.runs},
            {"bytes_per_rank", figure.token_bytes},
            {"yardstick_s", figure.token_yardstick},
            {"ratio", figure.token_ratio()}}}};
}

json report_json(const ModelReport& report, json figures) {
  json object = json_of(report.head);
  object["model"] = report.model;
  object["dtype"] = name(report.precision);
  object["kv_dtype"] = name(report.kv);
  object["tp"] = report.split.tp;
  object["decode_strategy"] = name(report.split.decode);
  object["answer_tokens"] = report.runs.answer;
  object["weight_bytes"] = report.weight_bytes;
  object["matrix_flop_per_s"] = report.rates.flop_per_second;
  object["weight_bytes_per_s"] = report.rates.weight_bytes_per_second;
  object["key_bytes_per_s"] = report.rates.key_bytes_per_second;
  object["lengths"] = std::move(figures);
  return object;
}

/// Rank 0's ears.
class Teller {
 public:
  Teller(const ModelReport& report, bool as_json)
      : report_(report), json_(as_json), line_(shows_on_terminal(STDERR_FILENO)) {
    if (!json_) std::cout << table_head(report_) << std::flush;
  }

  ModelListener listener() {
    return {.progress =
                [this](std::int64_t length, int run, std::int64_t read, std::int64_t written) {
                  if (line_.due()) draw(length, run, read, written);
                },
            .figure = [this](const ModelFigure& figure) { tell(figure); }};
  }

  void finish() {
    line_.clear();
    if (!json_) return;
    const json object = report_json(report_, std::move(figures_));
    std::cout << object.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
  }

 private:
  void draw(std::int64_t length, int run, std::int64_t read, std::int64_t written) {
    line_.draw(str("{} tokens, run {} of {}: {}", with_thousands(length), run + 1,
                   report_.runs.repeat,
                   written > 0 ? str("wrote {} of {}", written, report_.runs.answer)
                               : str("read {}", with_thousands(read))));
  }

  void tell(const ModelFigure& figure) {
    line_.clear();
    if (json_) {
      figures_.push_back(figure_json(figure));
    } else {
      std::cout << table_row(figure) << std::flush;
    }
  }

  const ModelReport& report_;
  const bool json_;
  StatusLine line_;
  json figures_ = json::array();
};

/// What can be refused is refused before the weights are read.
ExitCode bench(Machine& machine, const BenchModelOptions& asked,
               const std::atomic<bool>& interrupted) {
  const GenerateOptions options =
      agree_on(machine.control(), [&] { return suited_to(machine.backend(), asked.run); });
  OpenedModel opened = open_asked(machine, options);
  const Split split = splits(machine, options, opened.config, 1).front();
  const Precision precision = agreed_precision(machine, options.dtype);
  const KvType kv = kv_type(options, precision);
  ModelReport report{
      .head = {},
      .model = options.model,
      .precision = precision,
      .kv = kv,
      .backend = machine.backend(),
      .split = {.degree = split.degree, .tp = options.tp, .decode = options.decode_strategy},
      .runs = {.lengths = agree_on(
                   machine.control(),
                   [&] { return lengths(asked, machine.backend(), opened.config.context); }),
               .answer = asked.answer,
               .repeat = asked.repeat},
      .rates = {}};
  BenchOptions about;
  about.degree = report.split.ranks();
  about.throttle_link = options.throttle_link;
  about.seconds = asked.seconds;
  report.head = bench_head(machine, about, "model");
  const ModelWork work(opened.config, precision, kv);
  report.weight_bytes = work.weight_bytes();
  LoadedModel model = load_with_bar(machine, options, std::move(opened), precision);
  report.rates = measure_rates(machine, *model.ops, report.split, asked.seconds);
  const JobOptions job = job_options(
      machine, options, split, machine_rates(machine, options, *model.kernels, split), precision);

  std::optional<Teller> teller;
  std::optional<ModelListener> listener;
  if (machine.rank() == 0) {
    teller.emplace(report, options.json);
    listener = teller->listener();
  }
  measure_model(machine, model, job, report.runs, work, report.split, report.rates,
                listener ? &*listener : nullptr, interrupted);
  if (teller) teller->finish();
  return ended(machine, interrupted);
}

}  // namespace

ExitCode bench_model(const BenchModelOptions& options) {
  return on_machine(machine_request(options.run),
                    [&](Machine& machine, const std::atomic<bool>& interrupted) {
                      return bench(machine, options, interrupted);
                    });
}

}  // namespace longspan
