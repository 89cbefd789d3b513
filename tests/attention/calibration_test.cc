#include "attention/calibration.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <mutex>

#include "attention/link_probe.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

constexpr HeadShape kHeads{.query_heads = 4, .kv_heads = 2, .head_dim = 16};

void expect_usable(const MachineRates& rates) {
  const auto real = [](double value) { return std::isfinite(value) && value > 0; };
  ASSERT_FALSE(rates.attention.empty());
  for (const AttentionRate& point : rates.attention) EXPECT_TRUE(real(point.flops_per_second));
  EXPECT_TRUE(real(rates.masked_share));
  EXPECT_LE(rates.masked_share, 1);
  EXPECT_TRUE(real(rates.merge_bytes_per_second));
  EXPECT_TRUE(real(rates.launch_seconds));
  for (const LinkRate& link : {rates.inside_host, rates.between_hosts}) {
    EXPECT_TRUE(real(link.latency_seconds));
    EXPECT_TRUE(real(link.bytes_per_second));
  }
}

bool same_bits(const MachineRates& a, const MachineRates& b) {
  const auto same = [](const LinkRate& x, const LinkRate& y) {
    return x.latency_seconds == y.latency_seconds && x.bytes_per_second == y.bytes_per_second;
  };
  if (a.attention.size() != b.attention.size()) return false;
  for (std::size_t i = 0; i < a.attention.size(); ++i) {
    if (a.attention[i].rows != b.attention[i].rows ||
        a.attention[i].flops_per_second != b.attention[i].flops_per_second) {
      return false;
    }
  }
  return a.masked_share == b.masked_share && a.launch_seconds == b.launch_seconds &&
         a.merge_bytes_per_second == b.merge_bytes_per_second &&
         same(a.inside_host, b.inside_host) && same(a.between_hosts, b.between_hosts);
}

TEST(CalibrationTest, EffortsHaveNames) {
  for (const char* word : {"off", "quick", "full"}) {
    ASSERT_TRUE(parse_calibration_effort(word));
    EXPECT_EQ(name(*parse_calibration_effort(word)), word);
  }
  EXPECT_FALSE(parse_calibration_effort("fast"));
}

TEST(CalibrationTest, EveryRankHearsTheSameRates) {
  for (int ranks : {1, 2, 3}) {
    std::mutex mutex;
    std::map<int, MachineRates> heard;
    test::run_machines(ranks, [&](Machine& machine) {
      const auto kernels = new_cpu_attention_kernels(kHeads, 0.25f);
      const MachineRates rates = calibrate(machine, *kernels, CalibrationEffort::kQuick);
      const std::lock_guard lock(mutex);
      heard[machine.rank()] = rates;
    });
    ASSERT_EQ(std::ssize(heard), ranks);
    for (const auto& [rank, rates] : heard) {
      expect_usable(rates);
      EXPECT_TRUE(same_bits(rates, heard[0])) << "rank " << rank << " of " << ranks;
    }
    EXPECT_GE(heard[0].attention.back().rows, 100);
  }
}

TEST(CalibrationTest, OffAssumesAndSendsNoDataMessage) {
  test::run_machines(2, [](Machine& machine) {
    const auto kernels = new_cpu_attention_kernels(kHeads, 0.25f);
    const MachineRates rates = calibrate(machine, *kernels, CalibrationEffort::kOff);
    EXPECT_TRUE(same_bits(rates, default_rates(kernels->isa(), machine.threads())));
    EXPECT_EQ(machine.data().traffic().sent_messages, 0U);
  });
}

TEST(CalibrationTest, ALinkThatNobodyHasIsAssumed) {
  test::run_machines(2, [](Machine& machine) {
    const auto kernels = new_cpu_attention_kernels(kHeads, 0.25f);
    const MachineRates assumed = default_rates(kernels->isa(), machine.threads());
    const MachineRates rates = calibrate(machine, *kernels, CalibrationEffort::kQuick);
    EXPECT_EQ(rates.between_hosts.bytes_per_second, assumed.between_hosts.bytes_per_second);
    EXPECT_EQ(rates.between_hosts.latency_seconds, assumed.between_hosts.latency_seconds);
  });
}

TEST(CalibrationTest, TheSlowestOfEachKindCounts) {
  MachineRates a{.attention = {{1, 10}, {64, 90}},
                 .masked_share = 0.9,
                 .merge_bytes_per_second = 5,
                 .launch_seconds = 1,
                 .inside_host = {1, 20},
                 .between_hosts = {2, 30}};
  MachineRates b{.attention = {{1, 20}, {64, 80}},
                 .masked_share = 0.8,
                 .merge_bytes_per_second = 6,
                 .launch_seconds = 2,
                 .inside_host = {3, 40},
                 .between_hosts = {1, 10}};
  for (const auto& all : {std::vector{a, b}, std::vector{b, a}}) {
    const MachineRates rates = slowest(all);
    EXPECT_EQ(rates.attention[0].flops_per_second, 10);
    EXPECT_EQ(rates.attention[1].flops_per_second, 80);
    EXPECT_EQ(rates.masked_share, 0.8);
    EXPECT_EQ(rates.merge_bytes_per_second, 5);
    EXPECT_EQ(rates.launch_seconds, 2);
    EXPECT_EQ(rates.inside_host.latency_seconds, 3);
    EXPECT_EQ(rates.inside_host.bytes_per_second, 20);
    EXPECT_EQ(rates.between_hosts.latency_seconds, 2);
    EXPECT_EQ(rates.between_hosts.bytes_per_second, 10);
  }
}

TEST(CalibrationTest, RanksOfOneProcessShareAHost) {
  test::run_machines(
      3, [](Machine& machine) { EXPECT_EQ(hosts_of_ranks(machine), (std::vector{0, 0, 0})); });
}

TEST(LinkProbeTest, NeighboursAreARingOfEachHostAndOneAcross) {
  const std::vector<int> hosts{0, 1, 0, 1, 0};
  EXPECT_EQ(neighbours_inside(hosts, 0)->next, 2);
  EXPECT_EQ(neighbours_inside(hosts, 0)->previous, 4);
  EXPECT_EQ(neighbours_inside(hosts, 3)->next, 1);
  EXPECT_EQ(neighbours_between(hosts, 2)->next, 3);
  EXPECT_EQ(neighbours_between(hosts, 1)->previous, 0);
  EXPECT_FALSE(neighbours_between(hosts, 4)) << "host 1 has no third rank";
  EXPECT_FALSE(neighbours_between({0, 0}, 1));
  EXPECT_FALSE(neighbours_inside({0, 1}, 1));
}

// Who sends to me must be who has me for a next: else somebody waits for ever.
TEST(LinkProbeTest, NextAndPreviousAreEachOthers) {
  const std::vector<int> hosts{3, 3, 7, 3, 7, 7, 9, 9, 9, 9};
  for (int rank = 0; rank < std::ssize(hosts); ++rank) {
    for (const auto neighbours : {neighbours_inside, neighbours_between}) {
      const auto mine = neighbours(hosts, rank);
      if (!mine) continue;
      EXPECT_EQ(neighbours(hosts, mine->next)->previous, rank);
      EXPECT_EQ(neighbours(hosts, mine->previous)->next, rank);
    }
  }
}

TEST(LinkProbeTest, RanksWithoutNeighboursWaitForTheOthers) {
  test::run_machines(3, [](Machine& machine) {
    LinkProbe probe(machine, 1 << 17, std::chrono::milliseconds(5));
    const std::vector<int> hosts{0, 0, 2};
    const auto rate = probe.measure(neighbours_inside(hosts, machine.rank()));
    EXPECT_EQ(rate.has_value(), machine.rank() < 2);
    if (rate) {
      EXPECT_GT(rate->bytes_per_second, 0);
    }
  });
}

}  // namespace
}  // namespace longspan
