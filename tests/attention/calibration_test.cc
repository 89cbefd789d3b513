#include "attention/calibration.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "attention/kernel_probe.h"
#include "attention/link_probe.h"
#include "comm/cpu/cpu_device.h"
#include "tests/attention/wrapped_kernels.h"
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
  EXPECT_TRUE(real(rates.copy_bytes_per_second));
  EXPECT_TRUE(real(rates.launch_seconds));
  for (const LinkRate& link : {rates.inside_host, rates.between_hosts}) {
    EXPECT_TRUE(real(link.latency_seconds));
    EXPECT_TRUE(real(link.bytes_per_second));
  }
}

/// Each strategy of a group on one host; slices for those that split the heads.
void expect_probed(const MachineRates& rates, int ranks) {
  std::vector<Strategy> strategies;
  for (const ProbedStrategy& probed : rates.probed) {
    strategies.push_back(probed.plan.strategy);
    EXPECT_EQ(probed.chunks.size(), rates.grid.size());
    for (const ProbedChunk& chunk : probed.chunks) {
      EXPECT_GT(chunk.measured_seconds, 0);
      EXPECT_GT(chunk.modelled_seconds, 0);
    }
  }
  using enum Strategy;
  std::vector<Strategy> expected{kRing, kQueryRing, kAllGather, kGatherQuery};
  if (4 % ranks == 0) expected.push_back(kUlysses);
  if (ranks == 1) expected.clear();
  EXPECT_EQ(strategies, expected);
  EXPECT_EQ(rates.sliced.size(), ranks == 2 ? 1U : 0U);
}

bool same_bits(const std::vector<AttentionRate>& a, const std::vector<AttentionRate>& b) {
  return std::ranges::equal(a, b, [](const AttentionRate& x, const AttentionRate& y) {
    return x.rows == y.rows && x.flops_per_second == y.flops_per_second;
  });
}

bool same_bits(const ProbedStrategy& a, const ProbedStrategy& b) {
  return a.plan == b.plan &&
         std::ranges::equal(a.chunks, b.chunks, [](const ProbedChunk& x, const ProbedChunk& y) {
           return x.measured_seconds == y.measured_seconds &&
                  x.modelled_seconds == y.modelled_seconds;
         });
}

bool same_bits(const MachineRates& a, const MachineRates& b) {
  const auto same = [](const auto& x, const auto& y) { return same_bits(x, y); };
  const auto same_slice = [](const SlicedAttention& x, const SlicedAttention& y) {
    return x.parts == y.parts && same_bits(x.rates, y.rates);
  };
  const auto same_link = [](const LinkRate& x, const LinkRate& y) {
    return x.latency_seconds == y.latency_seconds && x.bytes_per_second == y.bytes_per_second;
  };
  return same_bits(a.attention, b.attention) &&
         std::ranges::equal(a.sliced, b.sliced, same_slice) && a.masked_share == b.masked_share &&
         a.launch_seconds == b.launch_seconds &&
         a.merge_bytes_per_second == b.merge_bytes_per_second &&
         a.copy_bytes_per_second == b.copy_bytes_per_second &&
         same_link(a.inside_host, b.inside_host) && same_link(a.between_hosts, b.between_hosts) &&
         a.grid.new_pages == b.grid.new_pages && a.grid.cached_pages == b.grid.cached_pages &&
         std::ranges::equal(a.probed, b.probed, same);
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
      const MachineRates rates =
          calibrate(machine, *kernels, CalibrationEffort::kQuick, whole_group(machine));
      const std::lock_guard lock(mutex);
      heard[machine.rank()] = rates;
    });
    ASSERT_EQ(std::ssize(heard), ranks);
    for (const auto& [rank, rates] : heard) {
      expect_usable(rates);
      EXPECT_TRUE(same_bits(rates, heard[0])) << "rank " << rank << " of " << ranks;
    }
    EXPECT_GE(heard[0].attention.back().rows, 100);
    expect_probed(heard[0], ranks);
    // No two ranks have a link between hosts.
    const MachineRates assumed = default_rates("scalar", 1);
    EXPECT_EQ(heard[0].between_hosts.bytes_per_second, assumed.between_hosts.bytes_per_second);
    EXPECT_EQ(heard[0].between_hosts.latency_seconds, assumed.between_hosts.latency_seconds);
  }
}

TEST(CalibrationTest, OffAssumesAndSendsNoDataMessage) {
  test::run_machines(2, [](Machine& machine) {
    const auto kernels = new_cpu_attention_kernels(kHeads, 0.25f);
    const MachineRates rates =
        calibrate(machine, *kernels, CalibrationEffort::kOff, whole_group(machine));
    EXPECT_TRUE(same_bits(rates, default_rates(kernels->isa(), machine.threads())));
    EXPECT_EQ(machine.data().traffic().sent_messages, 0U);
  });
}

TEST(CalibrationTest, OffAssumesThrottledLinksToBeSlow) {
  test::run_machines(2, [](Machine& machine) {
    const auto kernels = new_cpu_attention_kernels(kHeads, 0.25f);
    const MachineRates rates = calibrate(machine, *kernels, CalibrationEffort::kOff,
                                         whole_group(machine), LinkThrottle{1e6});
    EXPECT_EQ(rates.inside_host.bytes_per_second, 1e6);
    EXPECT_EQ(rates.between_hosts.bytes_per_second, 1e6);
  });
}

// As with --degree 2 of four ranks, and with two instances of two: groups {0, 2} and {1, 3}.
TEST(CalibrationTest, GroupsProbeAtTheSameTimeAndTheOthersWait) {
  const auto measured = [](int ranks, auto members) {
    test::run_machines(ranks, [&](Machine& machine) {
      const auto kernels = new_cpu_attention_kernels(kHeads, 0.25f);
      const ProbedGroup group{.ranks = members(machine.rank()), .hosts = {0, 0}};
      MachineRates rates = default_rates("scalar", 1);
      probe_strategies(machine, *kernels, group, std::chrono::milliseconds(20), rates);
      EXPECT_EQ(rates.probed.size(), 5U);
      for (const ProbedStrategy& probed : rates.probed) {
        for (const ProbedChunk& chunk : probed.chunks) EXPECT_GT(chunk.measured_seconds, 0);
      }
    });
  };
  measured(3, [](int rank) { return rank < 2 ? std::vector{0, 1} : std::vector<int>{}; });
  measured(4, [](int rank) { return std::vector{rank % 2, rank % 2 + 2}; });
}

/// What kernels are asked for.
struct Asked {
  int to_the_end = 0, attended = 0;
  std::set<KvType> keys, copied;
};

class NotedKernels final : public test::NarrowColumns {
 public:
  explicit NotedKernels(Asked& asked)
      : NarrowColumns(new_cpu_attention_kernels(kHeads, 0.25f)), asked_(asked) {}

  void attend_whole(Stream& stream, const QueryRows& rows, std::vector<ArrivingSegments> sources,
                    RunningState state, bool beside_kernels) override {
    ++asked_.to_the_end;
    NarrowColumns::attend_whole(stream, rows, std::move(sources), state, beside_kernels);
  }
  void attend(Stream& stream, const QueryRows& rows, std::vector<KvSegment> segments,
              RunningState state) override {
    ++asked_.attended;
    for (const KvSegment& segment : segments) asked_.keys.insert(segment.view.type);
    NarrowColumns::attend(stream, rows, std::move(segments), state);
  }
  void copy_kv(Stream& stream, std::vector<KvCopy> copies) override {
    for (const KvCopy& copy : copies) asked_.copied.insert({copy.from.type, copy.to.type});
    NarrowColumns::copy_kv(stream, std::move(copies));
  }

 private:
  Asked& asked_;
};

const std::set<KvType> kNarrowOnly{KvType::kBFloat16};

TEST(KernelProbeTest, RatesAreOfAttentionToTheEndOnKeysThatNeedNoRounding) {
  Asked asked;
  CpuDevice device(1);
  NotedKernels kernels(asked);
  KernelProbe probe(device, kernels, 64, 256, std::chrono::milliseconds(1));
  EXPECT_GT(probe.attention_flops_per_second(16), 0);
  EXPECT_GT(probe.masked_flops_per_second(64), 0);
  EXPECT_GT(asked.to_the_end, 0);
  EXPECT_EQ(asked.attended, asked.to_the_end);
  EXPECT_GT(probe.copy_bytes_per_second(), 0);
  EXPECT_EQ(asked.keys, kNarrowOnly);
  EXPECT_EQ(asked.copied, kNarrowOnly);
}

TEST(StrategyProbeTest, StrategiesRunOnKeysThatNeedNoRounding) {
  test::run_machines(2, [](Machine& machine) {
    Asked asked;
    NotedKernels kernels(asked);
    MachineRates rates = default_rates("scalar", 1);
    probe_strategies(machine, kernels, whole_group(machine), std::chrono::milliseconds(20), rates);
    EXPECT_GT(asked.attended, 0);
    EXPECT_EQ(asked.keys, kNarrowOnly);
    EXPECT_EQ(asked.copied, kNarrowOnly);
  });
}

TEST(StrategyProbeTest, AGridStaysShortWhereRatesAreLow) {
  const ProbedGroup group{.ranks = {0, 1, 2}, .hosts = {0, 0, 0}};
  const auto pages = [&](double flops, double bytes_per_second) {
    const LinkRate link{1e-5, bytes_per_second};
    const ProbeGrid grid = probe_grid(
        kHeads, group, {.attention = {{1, flops}}, .inside_host = link, .between_hosts = link});
    EXPECT_EQ(grid.new_pages[0], 1);
    EXPECT_EQ(grid.cached_pages[0], 0);
    return std::pair(grid.new_pages.back(), grid.cached_pages.back());
  };
  EXPECT_EQ(pages(1e12, 1e12), std::pair(24L, 96L));
  EXPECT_EQ(pages(1e12, 1e3), std::pair(3L, 3L));
  EXPECT_LT(pages(1e12, 1e7).second, 96);
  EXPECT_LT(pages(1e9, 1e12).second, 96);
}

TEST(StrategyProbeTest, HeadsAreSplitAsTheStrategiesOfTheGroupSplitThem) {
  const auto parts = [](HeadShape heads, int ranks) {
    return head_parts(heads, {.ranks = {}, .hosts = std::vector(ranks, 0)});
  };
  EXPECT_EQ(parts({9, 3, 64}, 2), std::vector<int>{});
  EXPECT_EQ(parts({9, 3, 64}, 3), std::vector{3});
  EXPECT_EQ(parts({12, 3, 64}, 1), std::vector<int>{});
  const std::vector<int> both = parts({32, 8, 64}, 4);
  EXPECT_EQ(both.back(), 4) << "ulysses";
}

TEST(CalibrationTest, TheSlowestOfEachKindCounts) {
  MachineRates a{.attention = {{1, 10}, {64, 90}},
                 .sliced = {{2, {{1, 7}}}},
                 .masked_share = 0.9,
                 .merge_bytes_per_second = 5,
                 .copy_bytes_per_second = 8,
                 .launch_seconds = 1,
                 .inside_host = {1, 20},
                 .between_hosts = {2, 30}};
  MachineRates b{.attention = {{1, 20}, {64, 80}},
                 .sliced = {{2, {{1, 6}}}},
                 .masked_share = 0.8,
                 .merge_bytes_per_second = 6,
                 .copy_bytes_per_second = 9,
                 .launch_seconds = 2,
                 .inside_host = {3, 40},
                 .between_hosts = {1, 10}};
  for (const auto& all : {std::vector{a, b}, std::vector{b, a}}) {
    const MachineRates rates = slowest(all);
    EXPECT_EQ(rates.attention[0].flops_per_second, 10);
    EXPECT_EQ(rates.attention[1].flops_per_second, 80);
    EXPECT_EQ(rates.masked_share, 0.8);
    EXPECT_EQ(rates.merge_bytes_per_second, 5);
    EXPECT_EQ(rates.copy_bytes_per_second, 8);
    EXPECT_EQ(rates.sliced[0].rates[0].flops_per_second, 6);
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
