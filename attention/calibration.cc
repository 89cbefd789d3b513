#include "attention/calibration.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "attention/kernel_probe.h"
#include "attention/link_probe.h"
#include "comm/agreement.h"
#include "comm/collective.h"
#include "comm/error.h"

namespace longspan {
namespace {

/// What is measured, and how long each figure takes.
struct Programme {
  std::vector<std::int64_t> rows;  // they rise
  std::int64_t masked_rows;
  std::int64_t most_columns;
  std::size_t most_bytes;
  std::chrono::duration<double> slice;
};

/// 3 row counts and 7 other figures of 0.2 s, 4 of which need their sizes found first; or 20 row
/// counts and figures of 2 s.
Programme programme(CalibrationEffort effort) {
  if (effort == CalibrationEffort::kQuick) {
    return {{1, 16, 128}, 512, 2048, std::size_t{4} << 20, std::chrono::milliseconds(200)};
  }
  return {{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024},
          2048,
          8192,
          std::size_t{32} << 20,
          std::chrono::seconds(2)};
}

constexpr double kNotMeasured = std::numeric_limits<double>::infinity();

MachineRates kernel_rates(Machine& machine, AttentionKernels& kernels, const Programme& what) {
  const auto probe = agree_on(machine.control(), [&] {
    return std::make_unique<KernelProbe>(machine.device(), kernels, what.masked_rows,
                                         what.most_columns, what.slice);
  });
  // Each figure begins at the same time on all ranks, so that they disturb each other as at work.
  const auto together = [&machine](auto measure) {
    barrier(machine.control());
    return measure();
  };
  MachineRates rates;
  for (std::int64_t rows : what.rows) {
    rates.attention.push_back(
        {rows, together([&] { return probe->attention_flops_per_second(rows); })});
  }
  const double masked = together([&] { return probe->masked_flops_per_second(what.masked_rows); });
  rates.masked_share = std::min(1.0, masked / rates.attention_flops_per_second(what.masked_rows));
  rates.merge_bytes_per_second = together([&] { return probe->merge_bytes_per_second(); });
  rates.launch_seconds = together([&] { return probe->launch_seconds(); });
  return rates;
}

void measure_links(Machine& machine, const Programme& what, MachineRates& rates) {
  const auto probe = agree_on(machine.control(), [&] {
    return std::make_unique<LinkProbe>(machine, what.most_bytes, what.slice);
  });
  const std::vector<int> hosts = hosts_of_ranks(machine);
  const LinkRate nothing{0, kNotMeasured};
  rates.inside_host = probe->measure(neighbours_inside(hosts, machine.rank())).value_or(nothing);
  rates.between_hosts = probe->measure(neighbours_between(hosts, machine.rank())).value_or(nothing);
}

/// Rates as the numbers that travel: five and two per link, then the row counts and their rates.
std::vector<double> numbers_of(const MachineRates& rates) {
  std::vector<double> numbers{rates.masked_share,
                              rates.merge_bytes_per_second,
                              rates.launch_seconds,
                              rates.inside_host.latency_seconds,
                              rates.inside_host.bytes_per_second,
                              rates.between_hosts.latency_seconds,
                              rates.between_hosts.bytes_per_second};
  for (const AttentionRate& point : rates.attention) {
    numbers.push_back(static_cast<double>(point.rows));
    numbers.push_back(point.flops_per_second);
  }
  return numbers;
}

MachineRates rates_of(std::span<const std::byte> bytes) {
  std::vector<double> numbers(bytes.size() / sizeof(double));
  std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(double));
  if (numbers.size() < 9) throw CommError("a rank's measured rates are cut short");
  MachineRates rates{.masked_share = numbers[0],
                     .merge_bytes_per_second = numbers[1],
                     .launch_seconds = numbers[2],
                     .inside_host = {numbers[3], numbers[4]},
                     .between_hosts = {numbers[5], numbers[6]}};
  for (std::size_t i = 7; i + 1 < numbers.size(); i += 2) {
    rates.attention.push_back({static_cast<std::int64_t>(numbers[i]), numbers[i + 1]});
  }
  return rates;
}

LinkRate slower(const LinkRate& a, const LinkRate& b) {
  return {std::max(a.latency_seconds, b.latency_seconds),
          std::min(a.bytes_per_second, b.bytes_per_second)};
}

}  // namespace

std::vector<int> hosts_of_ranks(Machine& machine) {
  const std::int32_t mine = machine.host_ranks().front();
  std::vector<std::byte> told;
  for (const auto& host : gather(machine.control(), std::as_bytes(std::span(&mine, 1)), 0)) {
    told.insert(told.end(), host.begin(), host.end());
  }
  broadcast(machine.control(), told, 0);
  std::vector<std::int32_t> hosts(told.size() / sizeof(std::int32_t));
  std::memcpy(hosts.data(), told.data(), hosts.size() * sizeof(std::int32_t));
  return {hosts.begin(), hosts.end()};
}

MachineRates slowest(const std::vector<MachineRates>& all) {
  expects(!all.empty(), "somebody measured");
  MachineRates rates = all.front();
  for (const MachineRates& other : all) {
    expects(other.attention.size() == rates.attention.size(), "all measured the same rows");
    for (std::size_t i = 0; i < rates.attention.size(); ++i) {
      double& flops = rates.attention[i].flops_per_second;
      flops = std::min(flops, other.attention[i].flops_per_second);
    }
    rates.masked_share = std::min(rates.masked_share, other.masked_share);
    rates.merge_bytes_per_second =
        std::min(rates.merge_bytes_per_second, other.merge_bytes_per_second);
    rates.launch_seconds = std::max(rates.launch_seconds, other.launch_seconds);
    rates.inside_host = slower(rates.inside_host, other.inside_host);
    rates.between_hosts = slower(rates.between_hosts, other.between_hosts);
  }
  return rates;
}

/// Rank 0 combines, everybody takes its word.
MachineRates agreed_rates(Communicator& control, const std::optional<MachineRates>& mine) {
  const std::vector<double> numbers = mine ? numbers_of(*mine) : std::vector<double>();
  std::vector<MachineRates> all;
  for (const auto& report : gather(control, std::as_bytes(std::span(numbers)), 0)) {
    if (!report.empty()) all.push_back(rates_of(report));
  }
  std::vector<double> verdict;
  if (control.rank() == 0) verdict = numbers_of(slowest(all));
  const auto view = std::as_bytes(std::span(verdict));
  std::vector<std::byte> bytes(view.begin(), view.end());
  broadcast(control, bytes, 0);
  return rates_of(bytes);
}

MachineRates calibrate(Machine& machine, AttentionKernels& kernels, CalibrationEffort effort) {
  const MachineRates assumed =
      agreed_rates(machine.control(), default_rates(kernels.isa(), machine.threads()));
  if (effort == CalibrationEffort::kOff) return assumed;
  const Programme what = programme(effort);
  MachineRates rates = kernel_rates(machine, kernels, what);
  measure_links(machine, what, rates);
  rates = agreed_rates(machine.control(), rates);
  if (rates.inside_host.bytes_per_second == kNotMeasured) rates.inside_host = assumed.inside_host;
  if (rates.between_hosts.bytes_per_second == kNotMeasured) {
    rates.between_hosts = assumed.between_hosts;
  }
  return rates;
}

}  // namespace longspan
