// `longspan bench decode`: every rank measures, rank 0 tells.
#include <iostream>
#include <nlohmann/json.hpp>

#include "comm/str.h"
#include "launch/bench/bench_head.h"
#include "launch/bench/bench_machine.h"
#include "launch/bench/decode_figures.h"
#include "launch/bench/memory_yardsticks.h"
#include "launch/commands.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

std::string table_head(const BenchHead& head, const BenchDecodeOptions& options,
                       const std::string& isa, Backend backend, double readable) {
  return str(
      "{}\ndecode attention of one layer, {}/{} x {}, keys in {}, {}, pages of {}; random data; "
      "slowest "
      "rank, median over {:g} s after a warm-up\nGB/s of keys and values that rows see, per rank; "
      "yardstick: "
      "{} memory on all ranks at once, {:.1f} GB/s each\nalone: each rank attends what it "
      "owns, "
      "without messages; share = alone / figure\n{:>9} {:>6} {:6} {:10} {:>11} {:>8} {:>6} {:>11} "
      "{:>6} {:>8}\n",
      describe(head), options.heads.query_heads, options.heads.kv_heads, options.heads.head_dim,
      name(options.keys()), isa, options.page(), head.seconds, MemoryYardstick::verb(backend),
      1e-9 * readable, "context", "rows", "keys", "strategy", "figure", "GB/s", "ratio", "alone",
      "share", "spread");
}

std::string table_rows(const DecodeFigure& figure, double readable) {
  std::string text;
  for (const DecodeStrategyFigure& one : figure.strategies) {
    const double rate = figure.bytes_per_second(one);
    text += str(
        "{:>9} {:>6} {:6} {:10} {:>8.3f} ms {:>8.2f} {:>6.2f} {:>8.3f} ms {:>6.2f} {:>6.1f} %\n",
        figure.context, figure.rows, name(figure.keys), name(one.strategy), 1e3 * one.time.seconds,
        1e-9 * rate, rate / readable, 1e3 * figure.alone.seconds, figure.share_of_alone(one),
        100 * one.time.spread);
  }
  return text;
}

json figure_json(const DecodeFigure& figure, double readable) {
  json strategies = json::array();
  for (const DecodeStrategyFigure& one : figure.strategies) {
    const double rate = figure.bytes_per_second(one);
    strategies.push_back({{"strategy", name(one.strategy)},
                          {"seconds", one.time.seconds},
                          {"spread", one.time.spread},
                          {"runs", one.time.runs},
                          {"bytes_per_s", rate},
                          {"ratio_to_reading", rate / readable},
                          {"share_of_alone", figure.share_of_alone(one)}});
  }
  return {{"context", figure.context},
          {"rows", figure.rows},
          {"keys", name(figure.keys)},
          {"bytes_per_rank", figure.bytes_per_rank},
          {"alone",
           {{"seconds", figure.alone.seconds},
            {"spread", figure.alone.spread},
            {"runs", figure.alone.runs}}},
          {"strategies", strategies}};
}

ExitCode bench(Machine& machine, const BenchDecodeOptions& options,
               const std::atomic<bool>& interrupted) {
  const BenchHead head = bench_head(machine, options, "decode");
  DecodeBench bench(machine, options, head.degree);
  const bool tells = machine.rank() == 0;
  const double readable = bench.memory_bytes_per_second();
  json steps = json::array();
  if (tells && !options.json) {
    std::cout << table_head(head, options, bench.isa(), machine.backend(), readable) << std::flush;
  }
  bench.run(interrupted, [&](const DecodeFigure& figure) {
    if (!tells) return;
    if (options.json) {
      steps.push_back(figure_json(figure, readable));
    } else {
      std::cout << table_rows(figure, readable) << std::flush;
    }
  });
  if (tells && options.json) {
    json object = json_of(head);
    object["heads"] = {{"query", options.heads.query_heads},
                       {"kv", options.heads.kv_heads},
                       {"size", options.heads.head_dim}};
    object["page_tokens"] = options.page();
    object["kv_dtype"] = name(options.keys());
    object["isa"] = bench.isa();
    object["read_bytes_per_s"] = readable;
    object["steps"] = steps;
    std::cout << object.dump() << '\n';
  }
  return ended(machine, interrupted);
}

}  // namespace

ExitCode bench_decode(const BenchDecodeOptions& options) {
  return on_bench_machine(options, [&](Machine& machine, const std::atomic<bool>& interrupted) {
    return bench(machine, suited_to(machine.backend(), options), interrupted);
  });
}

}  // namespace longspan
