#include "attention/machine_rates.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>

#include "comm/error.h"

namespace longspan {
namespace {

/// An H100 (estimate: 620 of its 989 TFLOP/s in bf16 when rows abound): peer copies over NVLink
/// inside a host, a 400 Gbit/s port each outside.
MachineRates hopper_rates() {
  return {.attention = {{1, 2e13}, {64, 3.1e14}, {512, 6.2e14}},
          .masked_share = 0.85,
          .merge_bytes_per_second = 2e12,
          .copy_bytes_per_second = 1e12,
          .launch_seconds = 5e-6,
          .inside_host = {5e-6, 379e9},
          .between_hosts = {15e-6, 50e9}};
}

/// Orders of magnitude of server cores (estimate); inside a host what exchanges took on the
/// machine of docs/performance/cpu-first-light.md, outside 10 Gbit/s.
MachineRates cpu_rates(double flops_per_thread, int threads) {
  const double flops = flops_per_thread * threads;
  return {.attention = {{1, flops / 8}, {16, flops / 2}, {128, flops}},
          .masked_share = 0.8,
          .merge_bytes_per_second = 4e9,
          .copy_bytes_per_second = 4e9,
          .launch_seconds = 20e-6,
          .inside_host = {20e-6, 4.5e9},
          .between_hosts = {100e-6, 1.25e9}};
}

MachineRates rates_by_isa(std::string_view isa, int threads) {
  if (isa == "sm_90") return hopper_rates();
  if (isa == "amx") return cpu_rates(200e9, threads);
  if (isa == "avx512") return cpu_rates(60e9, threads);
  if (isa == "avx2") return cpu_rates(30e9, threads);
  return cpu_rates(3e9, threads);
}

void slow_down(LinkRate& link, const LinkThrottle& throttle) {
  link.latency_seconds += std::chrono::duration<double>(throttle.latency).count();
  link.bytes_per_second = std::min(link.bytes_per_second, throttle.bytes_per_second);
}

/// Of so many rows and one column, in units of a FLOP a row.
double column_seconds(const AttentionRate& point) {
  return static_cast<double>(point.rows) / point.flops_per_second;
}

double interpolated(std::span<const AttentionRate> rates, std::int64_t rows) {
  const auto above = std::ranges::lower_bound(rates, rows, {}, &AttentionRate::rows);
  if (above == rates.begin()) return rates.front().flops_per_second;
  if (above == rates.end()) return rates.back().flops_per_second;
  const AttentionRate& below = *(above - 1);
  const double share =
      static_cast<double>(rows - below.rows) / static_cast<double>(above->rows - below.rows);
  return static_cast<double>(rows) /
         std::lerp(column_seconds(below), column_seconds(*above), share);
}

}  // namespace

double MachineRates::attention_flops_per_second(std::int64_t rows, int parts) const {
  expects(!attention.empty(), "attention was measured somewhere");
  const auto slice = std::ranges::find(sliced, parts, &SlicedAttention::parts);
  return interpolated(slice == sliced.end() ? attention : slice->rates, rows);
}

MachineRates default_rates(std::string_view isa, int threads,
                           const std::optional<LinkThrottle>& throttle) {
  expects(threads >= 1, "a rank has a thread");
  MachineRates rates = rates_by_isa(isa, threads);
  if (throttle) {
    slow_down(rates.inside_host, *throttle);
    slow_down(rates.between_hosts, *throttle);
  }
  return rates;
}

}  // namespace longspan
