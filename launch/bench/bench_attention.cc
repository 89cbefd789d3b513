// `longspan bench attention`: every rank measures, rank 0 tells.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

#include "comm/agreement.h"
#include "comm/file_error.h"
#include "comm/str.h"
#include "launch/bench/attention_prediction.h"
#include "launch/bench/attention_report.h"
#include "launch/bench/bench_machine.h"
#include "launch/commands.h"

namespace longspan {
namespace {

[[noreturn]] void refuse_plot(const std::string& path, int error) {
  throw_write_error(
      error, str("cannot write {}: {}; name another file with --plot", path, std::strerror(error)));
}

/// The file of the drawing, opened before minutes are spent on what it shows.
std::optional<std::ofstream> open_plot(Machine& machine, const BenchAttentionOptions& options) {
  return agree_on(machine.control(), [&]() -> std::optional<std::ofstream> {
    if (!options.plot || machine.rank() != 0) return std::nullopt;
    errno = 0;
    std::ofstream file(*options.plot, std::ios::binary | std::ios::trunc);
    if (!file) refuse_plot(*options.plot, errno);
    return file;
  });
}

ExitCode bench(Machine& machine, const BenchAttentionOptions& options,
               const std::atomic<bool>& interrupted) {
  const BenchHead head = bench_head(machine, options, "attention");
  AttentionBench bench(machine, options, head.degree);
  std::optional<std::ofstream> plot = open_plot(machine, options);
  const bool tells = machine.rank() == 0;
  const bool table = tells && !options.json;

  AttentionReport report{.head = head,
                         .heads = options.heads,
                         .page_tokens = options.page(),
                         .precision = bench.precision(),
                         .isa = bench.isa(),
                         .matrix = bench.matrix_product(),
                         .figures = {},
                         .rates = {}};
  if (table) std::cout << table_head(report) << std::flush;
  bench.run(interrupted, [&](const AttentionFigure& figure) {
    if (table) std::cout << table_rows(figure, report) << std::flush;
    report.figures.push_back(figure);
  });
  report.rates = bench.rates();
  if (table) std::cout << table_foot(report);
  if (tells && options.json) std::cout << json_text(report) << '\n';
  if (plot && !(*plot << svg_of(share_plot(report)) << std::flush)) {
    refuse_plot(*options.plot, errno);
  }
  return ended(machine, interrupted);
}

void predict(const BenchAttentionOptions& options) {
  const auto chunks = predict_chunks(options, read_rates(*options.predict, *options.degree));
  const auto told = options.json ? prediction_json : prediction_table;
  std::cout << told(chunks, options) << (options.json ? "\n" : "");
}

}  // namespace

ExitCode bench_attention(const BenchAttentionOptions& options) {
  if (options.predict) {
    if (announced_rank() == 0) predict(suited_to(options.backend.value_or(Backend::kCpu), options));
    return ExitCode::kClean;
  }
  return on_bench_machine(options, [&](Machine& machine, const std::atomic<bool>& interrupted) {
    return bench(machine, suited_to(machine.backend(), options), interrupted);
  });
}

}  // namespace longspan
