#include "attention/calibration.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>

#include "attention/head_slice.h"
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
  std::chrono::duration<double> slice;       // of a figure
  std::chrono::duration<double> strategies;  // of all of them
};

/// A GPU is full only with thousands of rows and columns, and is done with them in a millisecond.
Programme gpu_programme(CalibrationEffort effort) {
  const bool quick = effort == CalibrationEffort::kQuick;
  return {{1, 16, 256, 1024, 4096},
          8192,
          16384,
          std::size_t{64} << 20,
          std::chrono::milliseconds(quick ? 30 : 300),
          std::chrono::seconds(quick ? 1 : 10)};
}

/// 5 row counts, with all heads and two slices of them at most, and 8 other figures of 0.06 s, 19
/// of which need their sizes found first, and two seconds for strategies; or 20 row counts and
/// figures of a second.
Programme programme(CalibrationEffort effort, Backend backend) {
  if (backend == Backend::kCuda) return gpu_programme(effort);
  if (effort == CalibrationEffort::kQuick) {
    return {{1, 4, 16, 64, 256},    512, 2048, std::size_t{4} << 20, std::chrono::milliseconds(60),
            std::chrono::seconds(2)};
  }
  return {{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024},
          2048,
          8192,
          std::size_t{32} << 20,
          std::chrono::seconds(1),
          std::chrono::seconds(20)};
}

constexpr double kNotMeasured = std::numeric_limits<double>::infinity();

/// Each figure begins at the same time on all ranks, so that they disturb each other as at work.
double together(Machine& machine, const std::function<double()>& measure) {
  barrier(machine.control());
  return measure();
}

std::unique_ptr<KernelProbe> new_probe(Machine& machine, AttentionKernels& kernels,
                                       const Programme& what) {
  return agree_on(machine.control(), [&] {
    return std::make_unique<KernelProbe>(machine.device(), kernels, what.masked_rows,
                                         what.most_columns, what.slice);
  });
}

std::vector<AttentionRate> attention_rates(Machine& machine, KernelProbe& probe,
                                           const Programme& what) {
  std::vector<AttentionRate> rates;
  for (std::int64_t rows : what.rows) {
    rates.push_back(
        {rows, together(machine, [&] { return probe.attention_flops_per_second(rows); })});
  }
  return rates;
}

MachineRates kernel_rates(Machine& machine, AttentionKernels& kernels, const Programme& what) {
  const auto probe = new_probe(machine, kernels, what);
  MachineRates rates{.attention = attention_rates(machine, *probe, what)};
  const double masked =
      together(machine, [&] { return probe->masked_flops_per_second(what.masked_rows); });
  rates.masked_share = std::min(1.0, masked / rates.attention_flops_per_second(what.masked_rows));
  rates.merge_bytes_per_second = together(machine, [&] { return probe->merge_bytes_per_second(); });
  rates.copy_bytes_per_second = together(machine, [&] { return probe->copy_bytes_per_second(); });
  rates.launch_seconds = together(machine, [&] { return probe->launch_seconds(); });
  return rates;
}

/// With the heads that this rank attends where a strategy splits them.
void measure_slices(Machine& machine, AttentionKernels& kernels, const ProbedGroup& group,
                    const Programme& what, MachineRates& rates) {
  for (int parts : head_parts(kernels.shape(), group)) {
    const int part = group.index_of(machine.rank()).value_or(0) % parts;
    const auto sliced = kernels.for_heads(slice_heads(kernels.shape(), part, parts).shape);
    const auto probe = new_probe(machine, *sliced, what);
    rates.sliced.push_back({parts, attention_rates(machine, *probe, what)});
  }
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

/// Rates as the numbers that travel: eight, then lists that each begin with their length.
std::vector<double> numbers_of(const MachineRates& rates) {
  std::vector<double> numbers{rates.masked_share,
                              rates.merge_bytes_per_second,
                              rates.copy_bytes_per_second,
                              rates.launch_seconds,
                              rates.inside_host.latency_seconds,
                              rates.inside_host.bytes_per_second,
                              rates.between_hosts.latency_seconds,
                              rates.between_hosts.bytes_per_second};
  const auto add = [&numbers](auto number) { numbers.push_back(static_cast<double>(number)); };
  const auto add_points = [&](const std::vector<AttentionRate>& points) {
    add(points.size());
    for (const AttentionRate& point : points) {
      add(point.rows);
      add(point.flops_per_second);
    }
  };
  add_points(rates.attention);
  add(rates.sliced.size());
  for (const SlicedAttention& slice : rates.sliced) {
    add(slice.parts);
    add_points(slice.rates);
  }
  for (const auto* pages : {&rates.grid.new_pages, &rates.grid.cached_pages}) {
    add(pages->size());
    for (std::int64_t count : *pages) add(count);
  }
  add(rates.probed.size());
  for (const ProbedStrategy& probed : rates.probed) {
    add(static_cast<int>(probed.plan.strategy));
    add(probed.plan.inner);
    for (const ProbedChunk& chunk : probed.chunks) {
      add(chunk.measured_seconds);
      add(chunk.modelled_seconds);
    }
  }
  return numbers;
}

/// The numbers of a message, one after the other.
class NumberReader {
 public:
  explicit NumberReader(std::span<const std::byte> bytes)
      : numbers_(bytes.size() / sizeof(double)) {
    std::memcpy(numbers_.data(), bytes.data(), numbers_.size() * sizeof(double));
  }

  double next() {
    if (at_ == numbers_.size()) throw CommError("a rank's measured rates are cut short");
    return numbers_[at_++];
  }
  std::int64_t next_whole() { return static_cast<std::int64_t>(next()); }
  int next_int() { return static_cast<int>(next()); }

  std::vector<AttentionRate> next_points() {
    std::vector<AttentionRate> points;
    for (std::int64_t left = next_whole(); left > 0; --left) {
      const std::int64_t rows = next_whole();
      points.push_back({rows, next()});
    }
    return points;
  }
  ProbedChunk next_chunk() {
    const double measured = next();
    return {measured, next()};
  }
  LinkRate next_link() {
    const double latency = next();
    return {latency, next()};
  }

 private:
  std::vector<double> numbers_;
  std::size_t at_ = 0;
};

MachineRates rates_of(std::span<const std::byte> bytes) {
  NumberReader reader(bytes);
  MachineRates rates;
  rates.masked_share = reader.next();
  rates.merge_bytes_per_second = reader.next();
  rates.copy_bytes_per_second = reader.next();
  rates.launch_seconds = reader.next();
  rates.inside_host = reader.next_link();
  rates.between_hosts = reader.next_link();
  rates.attention = reader.next_points();
  for (std::int64_t left = reader.next_whole(); left > 0; --left) {
    const int parts = reader.next_int();
    rates.sliced.push_back({parts, reader.next_points()});
  }
  for (auto* pages : {&rates.grid.new_pages, &rates.grid.cached_pages}) {
    for (std::int64_t left = reader.next_whole(); left > 0; --left) {
      pages->push_back(reader.next_whole());
    }
  }
  for (std::int64_t left = reader.next_whole(); left > 0; --left) {
    ProbedStrategy probed;
    probed.plan.strategy = static_cast<Strategy>(reader.next_int());
    probed.plan.inner = reader.next_int();
    for (std::size_t i = 0; i < rates.grid.size(); ++i) {
      probed.chunks.push_back(reader.next_chunk());
    }
    rates.probed.push_back(probed);
  }
  return rates;
}

LinkRate slower(const LinkRate& a, const LinkRate& b) {
  return {std::max(a.latency_seconds, b.latency_seconds),
          std::min(a.bytes_per_second, b.bytes_per_second)};
}

/// The slower of each pair of points, at the same rows.
void slow_down(std::vector<AttentionRate>& points, const std::vector<AttentionRate>& others) {
  expects(points.size() == others.size(), "all measured the same rows");
  for (std::size_t i = 0; i < points.size(); ++i) {
    double& flops = points[i].flops_per_second;
    flops = std::min(flops, others[i].flops_per_second);
  }
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
    slow_down(rates.attention, other.attention);
    expects(other.sliced.size() == rates.sliced.size(), "all measured the same slices");
    for (std::size_t i = 0; i < rates.sliced.size(); ++i) {
      slow_down(rates.sliced[i].rates, other.sliced[i].rates);
    }
    rates.masked_share = std::min(rates.masked_share, other.masked_share);
    rates.merge_bytes_per_second =
        std::min(rates.merge_bytes_per_second, other.merge_bytes_per_second);
    rates.copy_bytes_per_second =
        std::min(rates.copy_bytes_per_second, other.copy_bytes_per_second);
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

MachineRates calibrate(Machine& machine, AttentionKernels& kernels, CalibrationEffort effort,
                       const ProbedGroup& group, const std::optional<LinkThrottle>& throttle) {
  const MachineRates assumed =
      agreed_rates(machine.control(), default_rates(kernels.isa(), machine.threads(), throttle));
  if (effort == CalibrationEffort::kOff) return assumed;
  const Programme what = programme(effort, machine.backend());
  MachineRates rates = kernel_rates(machine, kernels, what);
  measure_slices(machine, kernels, group, what, rates);
  measure_links(machine, what, rates);
  rates = agreed_rates(machine.control(), rates);
  if (rates.inside_host.bytes_per_second == kNotMeasured) rates.inside_host = assumed.inside_host;
  if (rates.between_hosts.bytes_per_second == kNotMeasured) {
    rates.between_hosts = assumed.between_hosts;
  }
  probe_strategies(machine, kernels, group, what.strategies, rates);
  return rates;
}

}  // namespace longspan
