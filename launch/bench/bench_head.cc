#include "launch/bench/bench_head.h"

#include <nlohmann/json.hpp>
#include <set>

#include "attention/calibration.h"
#include "comm/agreement.h"
#include "comm/str.h"
#include "launch/version.h"

namespace longspan {

BenchHead bench_head(Machine& machine, const BenchOptions& options, std::string bench) {
  const int degree = agree_on(machine.control(), [&] {
    const int wanted = options.degree.value_or(machine.size());
    if (wanted <= machine.size()) return wanted;
    throw UsageError(
        str("--degree {} needs {} ranks, but the job has {}; start it with mpirun -np {}", wanted,
            wanted, machine.size(), wanted));
  });
  const std::vector<int> hosts = hosts_of_ranks(machine);
  return {.bench = std::move(bench),
          .degree = degree,
          .ranks = machine.size(),
          .hosts = static_cast<int>(std::set(hosts.begin(), hosts.end()).size()),
          .threads = machine.threads(),
          .placement = machine.placement(),
          .device = machine.device().description(),
          .throttle_link = options.throttle_link.value_or(""),
          .seconds = std::chrono::duration<double>(options.seconds).count()};
}

std::string describe(const BenchHead& head) {
  const auto counted = [](int count, const char* what) {
    return str("{} {}{}", count, what, count == 1 ? "" : "s");
  };
  std::string text = str("longspan bench {}: {}", head.bench, counted(head.degree, "rank"));
  if (head.degree < head.ranks) text += str(" of {}", head.ranks);
  text += str(" on {} | rank 0: {} | {}", counted(head.hosts, "host"), head.device, build_name());
  if (!head.throttle_link.empty()) text += str(" | links throttled to {}", head.throttle_link);
  return text;
}

nlohmann::ordered_json json_of(const BenchHead& head) {
  return {{"bench", head.bench},
          {"version", build_name()},
          {"degree", head.degree},
          {"ranks", head.ranks},
          {"hosts", head.hosts},
          {"threads", head.threads},
          {"placement", head.placement},
          {"device", head.device},
          {"throttle_link", head.throttle_link},
          {"seconds_per_figure", head.seconds}};
}

}  // namespace longspan
