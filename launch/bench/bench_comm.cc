// `longspan bench comm`: every rank measures, rank 0 tells.
#include <iostream>
#include <nlohmann/json.hpp>

#include "comm/host_memory.h"
#include "comm/str.h"
#include "launch/bench/bench_head.h"
#include "launch/bench/bench_machine.h"
#include "launch/bench/comm_figures.h"
#include "launch/commands.h"

namespace longspan {
namespace {

void print_table(const BenchHead& head, const CommFigures& figures) {
  std::cout << describe(head) << '\n'
            << "to the next rank and from the one before at once; yardstick: every rank copies as "
               "much; slowest rank, median\n"
            << str("{:>10} {:>12} {:>14} {:>14} {:>6} {:>8}\n", "bytes", "us", "figure",
                   "yardstick", "ratio", "spread");
  for (const RingFigure& row : figures.ring) {
    std::cout << str("{:>10} {:>12.1f} {:>9.3f} GB/s {:>9.3f} GB/s {:>6.2f} {:>6.1f} %\n",
                     human_bytes(row.bytes), 1e6 * row.exchange.seconds,
                     1e-9 * row.bytes_per_second(), 1e-9 * row.copied_per_second(), row.ratio(),
                     100 * row.exchange.spread);
  }
  if (figures.round_trips.empty()) return;
  std::cout << "there and back between two ranks; yardstick: two hand-overs between streams of a "
               "rank; ratio: times as long\n";
  for (const RoundTripFigure& row : figures.round_trips) {
    const std::string after =
        row.after_work.count() > 0 ? str(", after {} us of work", row.after_work.count()) : "";
    std::cout << str("{:>10}{:24} {:>9.1f} us {:>9.1f} us {:>6.2f} {:>6.1f} %\n",
                     human_bytes(row.bytes), after, 1e6 * row.trip.seconds,
                     1e6 * row.yardstick_seconds, row.ratio(), 100 * row.trip.spread);
  }
}

void print_json(const BenchHead& head, const CommFigures& figures) {
  using json = nlohmann::ordered_json;
  json messages = json::array(), trips = json::array();
  for (const RingFigure& row : figures.ring) {
    messages.push_back({{"bytes", row.bytes},
                        {"seconds", row.exchange.seconds},
                        {"spread", row.exchange.spread},
                        {"runs", row.exchange.runs},
                        {"bytes_per_s", row.bytes_per_second()},
                        {"copy_bytes_per_s", row.copied_per_second()},
                        {"ratio", row.ratio()}});
  }
  for (const RoundTripFigure& row : figures.round_trips) {
    trips.push_back({{"bytes", row.bytes},
                     {"after_work_s", 1e-6 * static_cast<double>(row.after_work.count())},
                     {"seconds", row.trip.seconds},
                     {"spread", row.trip.spread},
                     {"runs", row.trip.runs},
                     {"yardstick_s", row.yardstick_seconds},
                     {"ratio", row.ratio()}});
  }
  json object = json_of(head);
  object["messages"] = messages;
  object["round_trips"] = trips;
  std::cout << object.dump() << '\n';
}

}  // namespace

ExitCode bench_comm(const BenchCommOptions& options) {
  return on_bench_machine(options, [&](Machine& machine, const std::atomic<bool>& interrupted) {
    const BenchHead head = bench_head(machine, options, "comm");
    const CommFigures figures = measure_comm(machine, options, head.degree, interrupted);
    if (machine.rank() == 0) (options.json ? print_json : print_table)(head, figures);
    return ended(machine, interrupted);
  });
}

}  // namespace longspan
