#include "scheduler/cost_model.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace longspan {
namespace {

/// Between two measured degrees, or at the nearest one.
struct Place {
  int low = 1;
  int high = 1;
  double share = 0;  // of the way from low to high

  double between(double at_low, double at_high) const {
    return at_low + share * (at_high - at_low);
  }
};

template <typename Cost>
Place place_of(const std::map<int, Cost>& costs, int degree) {
  const auto high = costs.lower_bound(degree);
  if (high == costs.end()) return {std::prev(high)->first, std::prev(high)->first};
  if (high->first == degree || high == costs.begin()) return {high->first, high->first};
  const auto low = std::prev(high);
  return {low->first, high->first,
          static_cast<double>(degree - low->first) / (high->first - low->first)};
}

}  // namespace

Nanoseconds to_nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

CostModel::CostModel(std::map<int, PrefillCost> prefill, std::map<int, DecodeCost> decode,
                     int version)
    : prefill_(std::move(prefill)), decode_(std::move(decode)), version_(version) {
  if (prefill_.empty() || decode_.empty() || prefill_.begin()->first < 1 ||
      decode_.begin()->first < 1) {
    throw std::logic_error("costs are measured for one degree at least, from 1 on");
  }
}

PrefillCost CostModel::prefill(int degree) const {
  const Place at = place_of(prefill_, degree);
  const PrefillCost &low = prefill_.at(at.low), &high = prefill_.at(at.high);
  const auto shared = [&](double at_low, double at_high) {
    return at.between(at.low * at_low, at.high * at_high) / degree;
  };
  return {at.between(low.a, high.a), shared(low.b, high.b), shared(low.c, high.c),
          shared(low.d, high.d)};
}

DecodeCost CostModel::decode(int degree) const {
  const Place at = place_of(decode_, degree);
  const DecodeCost &low = decode_.at(at.low), &high = decode_.at(at.high);
  DecodeCost cost = low;
  cost.fixed = at.between(low.fixed, high.fixed);
  cost.per_key = at.between(low.per_key, high.per_key);
  for (DecodeCost::Point& point : cost.of_rows) {
    const auto same = std::ranges::find(high.of_rows, point.rows, &DecodeCost::Point::rows);
    if (same != high.of_rows.end()) point.seconds = at.between(point.seconds, same->seconds);
  }
  return cost;
}

Nanoseconds CostModel::step(int degree, std::span<const ChunkSize> chunks,
                            const DecodeShape& rows) const {
  double seconds = prefill(degree).seconds(chunks);
  if (rows.rows > 0) {
    const DecodeCost cost = decode(degree);
    seconds += cost.seconds(rows) - (chunks.empty() ? 0 : cost.fixed);  // of one step, once
  }
  return to_nanoseconds(seconds);
}

Nanoseconds CostModel::solo(const ChunkSize& rest, int most_degree,
                            std::int64_t chunk_per_rank) const {
  double least = prefill(1).seconds_in_chunks(rest, chunk_per_rank);
  for (int degree = 2; degree <= most_degree; ++degree) {
    least = std::min(least, prefill(degree).seconds_in_chunks(rest, degree * chunk_per_rank));
  }
  return to_nanoseconds(least);
}

std::map<int, PrefillCost> a100_prefill_costs() {
  const auto cost = [](double a, double b, double d) { return PrefillCost{a, b, 2 * d, d}; };
  return {{1, cost(0.0301, 5.579e-5, 1.265e-9)},
          {2, cost(0.0258, 3.014e-5, 6.085e-10)},
          {4, cost(0.0585, 1.555e-5, 3.052e-10)},
          {8, cost(0.1737, 6.739e-6, 1.644e-10)},
          {16, cost(0.3867, 2.466e-6, 8.944e-11)}};
}

}  // namespace longspan
