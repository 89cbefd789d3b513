// `longspan bench load`: every rank measures, rank 0 tells.
#include <iostream>
#include <nlohmann/json.hpp>

#include "comm/host_memory.h"
#include "comm/str.h"
#include "launch/bench/bench_head.h"
#include "launch/bench/bench_machine.h"
#include "launch/bench/load_figures.h"
#include "launch/commands.h"

namespace longspan {
namespace {

void print_table(const BenchHead& head, const BenchLoadOptions& options,
                 const LoadFigures& figures) {
  const auto print_row = [&](std::string_view what, const Timing& timing, std::string_view note) {
    std::cout << str("{:<12}{:>9.4f} s {:>9.4f} s {:>6.1f} % {:>7.2f} GB/s  {}\n", what,
                     timing.best, timing.seconds, 100 * timing.spread,
                     1e-9 * figures.bytes_per_second(timing), note);
  };
  std::cout << describe(head) << '\n'
            << str("{}: {} of the file into {} of {} weights with {} threads; page cache warm, {} "
                   "runs in turn\n",
                   options.model, human_bytes(static_cast<std::int64_t>(figures.file_bytes)),
                   human_bytes(figures.weight_bytes), figures.precision, figures.threads,
                   figures.load.runs)
            << str("{:>23} {:>11} {:>8} {:>12}\n", "best", "median", "spread", "of the file");
  print_row("load", figures.load, "");
  print_row("yardstick", figures.yardstick, "as many threads read and dequantise into new memory");
  print_row("in cache", figures.in_cache, "the same, and keep nothing");
  std::cout << str("ratio       {:>9.2f}: load over yardstick, best over best\n", figures.ratio());
}

nlohmann::ordered_json json_of(const Timing& timing) {
  return {{"best_s", timing.best},
          {"median_s", timing.seconds},
          {"spread", timing.spread},
          {"runs", timing.runs}};
}

void print_json(const BenchHead& head, const BenchLoadOptions& options,
                const LoadFigures& figures) {
  nlohmann::ordered_json object = json_of(head);
  object["model"] = options.model;
  object["dtype"] = figures.precision;
  object["file_bytes"] = figures.file_bytes;
  object["weight_bytes"] = figures.weight_bytes;
  object["load_threads"] = figures.threads;
  object["load"] = json_of(figures.load);
  object["yardstick"] = json_of(figures.yardstick);
  object["in_cache"] = json_of(figures.in_cache);
  object["ratio"] = figures.ratio();
  std::cout << object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

}  // namespace

ExitCode bench_load(const BenchLoadOptions& options) {
  return on_bench_machine(options, [&](Machine& machine, const std::atomic<bool>& interrupted) {
    const BenchHead head = bench_head(machine, options, "load");
    const LoadFigures figures = measure_load(machine, options, interrupted);
    if (machine.rank() == 0) (options.json ? print_json : print_table)(head, options, figures);
    return ended(machine, interrupted);
  });
}

}  // namespace longspan
