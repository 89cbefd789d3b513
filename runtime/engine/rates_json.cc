#include "runtime/engine/rates_json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "comm/error.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

/// A rate of a file is believed if it can be one.
double positive(const json& value) {
  const double number = value.get<double>();
  if (!std::isfinite(number) || number <= 0) throw DataError("a rate is not above zero");
  return number;
}

int whole_above(const json& value, int least) {
  const int number = value.get<int>();
  if (number < least) throw DataError("a number of parts is too small");
  return number;
}

json json_of(const LinkRate& link) {
  return {{"latency_seconds", link.latency_seconds}, {"bytes_per_second", link.bytes_per_second}};
}

LinkRate link_of(const json& value) {
  return {positive(value.at("latency_seconds")), positive(value.at("bytes_per_second"))};
}

json json_of(const std::vector<AttentionRate>& points) {
  json list = json::array();
  for (const AttentionRate& point : points) {
    list.push_back({{"rows", point.rows}, {"flops_per_second", point.flops_per_second}});
  }
  return list;
}

std::vector<AttentionRate> points_of(const json& list) {
  std::vector<AttentionRate> points;
  for (const json& point : list) {
    const auto rows = point.at("rows").get<std::int64_t>();
    const std::int64_t least = points.empty() ? 1 : points.back().rows + 1;
    if (rows < least) throw DataError("its rows do not rise");
    points.push_back({rows, positive(point.at("flops_per_second"))});
  }
  if (points.empty()) throw DataError("it has no attention rates");
  return points;
}

json json_of(const ProbedChunk& chunk) {
  return {{"measured_seconds", chunk.measured_seconds},
          {"modelled_seconds", chunk.modelled_seconds}};
}

ProbedChunk chunk_of(const json& value) {
  return {positive(value.at("measured_seconds")), positive(value.at("modelled_seconds"))};
}

std::vector<std::int64_t> pages_of(const json& list) {
  std::vector<std::int64_t> pages;
  for (const json& value : list) {
    const auto count = value.get<std::int64_t>();
    if (count < (pages.empty() ? 0 : pages.back() + 1)) throw DataError("its pages do not rise");
    pages.push_back(count);
  }
  return pages;
}

json json_of(const ProbedStrategy& probed) {
  json chunks = json::array();
  for (const ProbedChunk& chunk : probed.chunks) chunks.push_back(json_of(chunk));
  return {
      {"strategy", name(probed.plan.strategy)}, {"inner", probed.plan.inner}, {"chunks", chunks}};
}

ProbedStrategy probed_of(const json& value, const ProbeGrid& grid) {
  const auto strategy = parse_strategy(value.at("strategy").get<std::string>());
  if (!strategy) throw DataError("it probed a strategy that there is not");
  ProbedStrategy probed{.plan = {*strategy, whole_above(value.at("inner"), 1)}, .chunks = {}};
  for (const json& chunk : value.at("chunks")) probed.chunks.push_back(chunk_of(chunk));
  if (probed.chunks.empty() || probed.chunks.size() != grid.size()) {
    throw DataError("it has other probes than it says");
  }
  return probed;
}

}  // namespace

json json_of(const MachineRates& rates) {
  json sliced = json::array(), probed = json::array();
  for (const SlicedAttention& slice : rates.sliced) {
    sliced.push_back({{"parts", slice.parts}, {"rates", json_of(slice.rates)}});
  }
  for (const ProbedStrategy& one : rates.probed) probed.push_back(json_of(one));
  return {{"attention", json_of(rates.attention)},
          {"sliced", sliced},
          {"masked_share", rates.masked_share},
          {"merge_bytes_per_second", rates.merge_bytes_per_second},
          {"copy_bytes_per_second", rates.copy_bytes_per_second},
          {"launch_seconds", rates.launch_seconds},
          {"inside_host", json_of(rates.inside_host)},
          {"between_hosts", json_of(rates.between_hosts)},
          {"probe_new_pages", rates.grid.new_pages},
          {"probe_cached_pages", rates.grid.cached_pages},
          {"probed", probed}};
}

MachineRates rates_of(const json& value) {
  MachineRates rates{.attention = points_of(value.at("attention")),
                     .masked_share = positive(value.at("masked_share")),
                     .merge_bytes_per_second = positive(value.at("merge_bytes_per_second")),
                     .copy_bytes_per_second = positive(value.at("copy_bytes_per_second")),
                     .launch_seconds = positive(value.at("launch_seconds")),
                     .inside_host = link_of(value.at("inside_host")),
                     .between_hosts = link_of(value.at("between_hosts"))};
  for (const json& slice : value.at("sliced")) {
    rates.sliced.push_back({whole_above(slice.at("parts"), 2), points_of(slice.at("rates"))});
  }
  rates.grid = {pages_of(value.at("probe_new_pages")), pages_of(value.at("probe_cached_pages"))};
  for (const json& one : value.at("probed")) rates.probed.push_back(probed_of(one, rates.grid));
  return rates;
}

}  // namespace longspan
