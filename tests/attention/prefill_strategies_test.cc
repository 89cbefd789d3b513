#include "attention/prefill_strategies.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <iostream>
#include <random>

#include "attention/divisors.h"
#include "attention/strategy_traffic.h"
#include "comm/cpu/thread_communicator.h"
#include "comm/str.h"
#include "tests/attention/sequence_cluster.h"
#include "tests/support/counting_communicator.h"
#include "tests/support/delaying_communicator.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using test::PagedRank;
using test::RandomSequence;

constexpr double kTolerance = 1e-5;
constexpr std::array kLayouts{Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                              Layout::kContiguous, Layout::kFolded};

/// Which rank keeps page p.
enum class Owners {
  kSpread,   // p mod the ranks
  kOneRank,  // always the last
  kRandom,
  kCompute,  // the one that computes it: for layouts that deal whole pages
};

/// One sequence, prefilled by all ranks in chunks; every row and every page is checked.
struct Case {
  PlannedStrategy plan;
  int ranks = 1;
  std::int64_t tokens = 1;
  HeadShape shape{3, 1, 16};
  Layout layout = Layout::kBlockCyclic;
  std::int64_t page_tokens = 16;
  std::int64_t chunk = 1 << 20;
  Owners owners = Owners::kSpread;
  test::Pattern pattern = Mask::causal();

  std::string description() const {
    return str(
        "{} on {} ranks, {} tokens, {}/{} heads of {}, {}, pages of {}, chunks of {}, owners {}, "
        "{}",
        describe(plan, ranks), ranks, tokens, shape.query_heads, shape.kv_heads, shape.head_dim,
        name(layout), page_tokens, chunk, static_cast<int>(owners), pattern.name);
  }

  Deal chunk_at(std::int64_t first) const {
    return {.layout = layout,
            .first = first,
            .count = std::min(chunk, tokens - first),
            .ranks = ranks,
            .block = page_tokens};
  }

  PrefillLimits limits() const {
    const std::int64_t most = tokens + page_tokens;
    return {.rows = most, .columns = most, .all_rows = most, .all_columns = most, .ranks = ranks};
  }

  std::int64_t pages() const { return (tokens + page_tokens - 1) / page_tokens; }

  std::vector<int> page_owners() const {
    if (owners == Owners::kCompute) return computing_ranks();
    std::vector<int> list(pages());
    std::mt19937 random(static_cast<unsigned>(tokens));
    for (std::size_t page = 0; page < list.size(); ++page) {
      if (owners == Owners::kSpread) list[page] = static_cast<int>(page % ranks);
      if (owners == Owners::kOneRank) list[page] = ranks - 1;
      if (owners == Owners::kRandom) list[page] = static_cast<int>(random() % ranks);
    }
    return list;
  }

 private:
  std::vector<int> computing_ranks() const {
    const Deal all{
        .layout = layout, .count = pages() * page_tokens, .ranks = ranks, .block = page_tokens};
    std::vector<int> list(pages());
    for (int rank = 0; rank < ranks; ++rank) {
      for (const PositionRun& run : shard(all, rank)) {
        for (std::int64_t i = 0; i < run.count; ++i) list[run.position(i) / page_tokens] = rank;
      }
    }
    return list;
  }
};

/// Prefills on one rank of the cluster and returns the worst error it saw.
double prefill(const Case& c, const RandomSequence& sequence, Communicator& communicator) {
  std::vector<int> everyone(c.ranks);
  for (int i = 0; i < c.ranks; ++i) everyone[i] = i;
  Group group(communicator, everyone);
  const std::vector<int> owners = c.page_owners();
  PagedRank rank(c.shape, c.page_tokens, static_cast<int>(owners.size()));
  PrefillStrategies strategies(rank.device, *rank.kernels, c.limits(), {c.plan});
  PrefillAttention& attention = strategies.use(c.plan.strategy);
  const auto storage = test::storage_on(group.rank(), c.page_tokens, owners);
  double worst = 0;
  for (std::int64_t first = 0; first < c.tokens; first += c.chunk) {
    const Deal deal = c.chunk_at(first);
    worst = std::max(worst, test::run_chunk(rank, attention, group, deal, storage, sequence));
    const std::int64_t length = first + deal.count;
    EXPECT_EQ(test::missing_columns(rank, group.rank(), storage, sequence, length), 0)
        << c.description() << ", rank " << group.rank();
  }
  EXPECT_LE(worst, kTolerance) << c.description() << ", rank " << group.rank();
  return worst;
}

double prefill_everywhere(const Case& c, const RandomSequence& sequence) {
  std::atomic<double> worst = 0;
  test::run_ranks(c.ranks, [&](Communicator& communicator) {
    const double error = prefill(c, sequence, communicator);
    for (double seen = worst; error > seen && !worst.compare_exchange_weak(seen, error);) {
    }
  });
  return worst;
}

double prefill_everywhere(const Case& c) {
  return prefill_everywhere(c, RandomSequence(c.shape, c.tokens, 11, c.pattern));
}

class StrategyTest : public testing::TestWithParam<Strategy> {
 protected:
  Strategy strategy() const { return GetParam(); }
  bool splits_heads() const {
    return strategy() == Strategy::kUlysses || strategy() == Strategy::kUsp;
  }

  /// Every way to divide `ranks`, also by 1 and by all of them, where both are degenerate.
  std::vector<PlannedStrategy> plans(int ranks) const {
    if (strategy() != Strategy::kUsp && strategy() != Strategy::kDoubleRing)
      return {{strategy(), 1}};
    std::vector<PlannedStrategy> list;
    for (int inner : divisors(ranks)) list.push_back({strategy(), inner});
    return list;
  }

  /// Heads that `ranks` divide; with an odd number of them slices begin inside a group.
  HeadShape shape(int ranks) const {
    return splits_heads() ? HeadShape{2 * ranks, 2, 16} : HeadShape{3, 1, 16};
  }

  /// Layouts and owners that the strategy may meet: any, or those where a rank keeps what it
  /// computes.
  struct Deal {
    Layout layout;
    std::int64_t page_tokens;
    Owners owners;
  };
  std::vector<Deal> deals() const {
    if (!passes_keys(strategy())) {
      return {{Layout::kBlockCyclic, 16, Owners::kCompute},
              {Layout::kFolded, 16, Owners::kCompute},
              {Layout::kFolded, 4, Owners::kCompute},
              {Layout::kStriped, 1, Owners::kCompute}};
    }
    std::vector<Deal> list;
    for (Layout layout : kLayouts) list.push_back({layout, 16, Owners::kSpread});
    return list;
  }

  Case one_case(const PlannedStrategy& plan, int ranks, const Deal& deal) const {
    return {.plan = plan,
            .ranks = ranks,
            .shape = shape(ranks),
            .layout = deal.layout,
            .page_tokens = deal.page_tokens,
            .owners = deal.owners};
  }
};

std::string test_name(const testing::TestParamInfo<Strategy>& tested) {
  std::string id(name(tested.param));
  std::erase(id, '-');
  return id;
}

std::vector<std::int64_t> hurting_lengths(std::int64_t ranks) {
  return {1, 2, ranks - 1, ranks, ranks + 1, 2 * ranks + 1, 129};
}

TEST_P(StrategyTest, EveryLayoutDegreeAndLengthEqualsDenseAttention) {
  double worst = 0;
  for (int ranks = 1; ranks <= 8; ++ranks) {
    auto lengths = hurting_lengths(ranks);
    if (strategy() == Strategy::kRing) lengths.insert(lengths.end(), {127, 128});
    for (std::int64_t tokens : lengths) {
      if (tokens < 1) continue;
      const RandomSequence sequence(shape(ranks), tokens, 11);
      for (const PlannedStrategy& plan : plans(ranks)) {
        for (const auto& deal : deals()) {
          Case c = one_case(plan, ranks, deal);
          c.tokens = tokens;
          worst = std::max(worst, prefill_everywhere(c, sequence));
        }
      }
    }
  }
  std::cout << "worst error " << worst << '\n';
}

TEST_P(StrategyTest, AThousandTokensInChunksOverPagesOfAnySize) {
  constexpr std::array<std::int64_t, 3> kPages{1, 16, 128};
  constexpr std::array<std::int64_t, 4> kChunks{17, 64, 333, 1000};
  double worst = 0;
  for (int ranks : {3, 8}) {
    const RandomSequence sequence(shape(ranks), 1000, 11);
    const auto all_plans = plans(ranks);
    const auto all_deals = deals();
    for (std::size_t i = 0; i < all_deals.size(); ++i) {
      Case c = one_case(all_plans[(ranks + i) % all_plans.size()], ranks, all_deals[i]);
      c.tokens = sequence.tokens();
      if (c.layout != Layout::kStriped || passes_keys(strategy())) {
        c.page_tokens = kPages[(ranks + 2 * i) % 3];
      }
      c.chunk = kChunks[(ranks + i) % 4];
      worst = std::max(worst, prefill_everywhere(c, sequence));
    }
  }
  std::cout << "worst error " << worst << '\n';
}

/// Chunk borders inside windows; windows inside a page, inside a rank's share, beyond the sequence.
TEST_P(StrategyTest, WindowsEqualDenseAttention) {
  double worst = 0;
  for (std::int64_t window : {1, 3, 8, 20, 61, 200}) {
    for (int ranks : {1, 2, 3, 6}) {
      const test::Pattern pattern = Mask::window(window);
      const RandomSequence sequence(shape(ranks), 101, 11, pattern);
      const auto all_plans = plans(ranks);
      const auto all_deals = deals();
      for (std::size_t i = 0; i < all_deals.size(); ++i) {
        Case c = one_case(all_plans[(ranks + i) % all_plans.size()], ranks, all_deals[i]);
        c.tokens = sequence.tokens();
        c.page_tokens = std::min<std::int64_t>(c.page_tokens, 8);
        c.chunk = (window + ranks) % 2 == 0 ? 45 : 17;
        c.pattern = pattern;
        worst = std::max(worst, prefill_everywhere(c, sequence));
      }
    }
  }
  std::cout << "worst error " << worst << '\n';
}

/// Sinks and windows, anchors and blocks, that end at, before and behind borders of pages, chunks
/// and each other; prompts that end with, in and before the part that sees everything.
TEST_P(StrategyTest, AnchorsWindowsAndBlocksEqualDenseAttention) {
  const std::array patterns{test::sinks(1, 1),          test::sinks(4, 8),
                            test::sinks(8, 20),         test::sinks(50, 61),
                            test::blocks({8, 8, 96}),   test::blocks({16, 16, 70}),
                            test::blocks({3, 33, 200}), test::blocks({40, 17, 60})};
  double worst = 0;
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    for (int ranks = 1; ranks <= 7; ranks += ranks < 3 ? 1 : 2) {
      const RandomSequence sequence(shape(ranks), 101, 11, patterns[p]);
      const auto all_plans = plans(ranks);
      const auto all_deals = deals();
      for (std::size_t i = 0; i < all_deals.size(); ++i) {
        Case c = one_case(all_plans[(p + i) % all_plans.size()], ranks, all_deals[i]);
        c.tokens = sequence.tokens();
        c.page_tokens = std::min<std::int64_t>(c.page_tokens, 8);
        c.chunk = std::array{17, 48, 101}[(p + i) % 3];
        c.pattern = patterns[p];
        worst = std::max(worst, prefill_everywhere(c, sequence));
      }
    }
  }
  std::cout << "worst error " << worst << '\n';
}

/// Every row sees every column of every rank up to the chunk's end, whatever the layout.
TEST_P(StrategyTest, FullAttentionEqualsDenseAttention) {
  double worst = 0;
  for (std::int64_t tokens : {1, 5, 70}) {
    for (int ranks : {1, 2, 3, 4, 6}) {
      const RandomSequence sequence(shape(ranks), tokens, 11, Mask::full());
      for (const PlannedStrategy& plan : plans(ranks)) {
        for (const auto& deal : deals()) {
          Case c = one_case(plan, ranks, deal);
          c.tokens = tokens;
          c.page_tokens = std::min<std::int64_t>(c.page_tokens, 8);
          c.chunk = ranks % 2 == 0 ? tokens : 33;
          c.pattern = sequence.mask();
          worst = std::max(worst, prefill_everywhere(c, sequence));
        }
      }
    }
  }
  std::cout << "worst error " << worst << '\n';
}

TEST_P(StrategyTest, AnyRatioOfHeadsAndAnyHeadSize) {
  double worst = 0;
  for (const HeadShape shape : {HeadShape{2, 2, 64}, HeadShape{6, 2, 64}, HeadShape{9, 3, 64},
                                HeadShape{8, 2, 128}, HeadShape{16, 2, 64}, HeadShape{5, 1, 80},
                                HeadShape{2, 1, 256}, HeadShape{12, 2, 16}, HeadShape{28, 4, 16}}) {
    for (int ranks : {2, 3, 4, 6, 7, 14}) {
      if (splits_heads() ? shape.query_heads % ranks != 0 : ranks != 3) continue;
      const RandomSequence sequence(shape, 150, 11);
      for (const PlannedStrategy& plan : plans(ranks)) {
        worst = std::max(worst, prefill_everywhere({.plan = plan,
                                                    .ranks = ranks,
                                                    .tokens = 150,
                                                    .shape = shape,
                                                    .owners = Owners::kCompute},
                                                   sequence));
      }
    }
  }
  std::cout << "worst error " << worst << '\n';
}

TEST_P(StrategyTest, RandomCasesEqualDenseAttention) {
  std::mt19937 random(5);
  const auto below = [&](std::size_t count) { return random() % count; };
  for (int round = 0; round < 60; ++round) {
    const int ranks = 1 + static_cast<int>(below(6));
    const auto all_plans = plans(ranks);
    Case c = one_case(all_plans[below(all_plans.size())], ranks, deals()[below(deals().size())]);
    c.tokens = 1 + static_cast<std::int64_t>(below(160));
    c.chunk = 1 + static_cast<std::int64_t>(below(80));
    if (c.owners != Owners::kCompute || c.page_tokens > 1) c.page_tokens = 1LL << below(6);
    if (c.owners != Owners::kCompute) c.owners = static_cast<Owners>(below(3));
    if (below(2) == 0) c.pattern = Mask::window(1 + static_cast<std::int64_t>(below(90)));
    if (below(6) == 0) c.pattern = Mask::full();
    prefill_everywhere(c);
  }
}

/// The bytes and messages of docs/algorithms.md, counted on the wire.
TEST_P(StrategyTest, SendsExactlyWhatItsFormulaSays) {
  for (int ranks : {1, 2, 3, 4, 6}) {
    for (const PlannedStrategy& plan : plans(ranks)) {
      for (const auto& deal : deals()) {
        for (const auto& [tokens, pattern] : {std::pair<int, test::Pattern>{1, Mask::causal()},
                                              {4, Mask::causal()},
                                              {37, Mask::full()},
                                              {64, Mask::causal()},
                                              {64, Mask::window(1)},
                                              {64, Mask::window(9)},
                                              {64, Mask::window(40)},
                                              {64, test::sinks(5, 9)},
                                              {64, test::blocks({8, 8, 50})}}) {
          Case c = one_case(plan, ranks, deal);
          c.tokens = tokens;
          c.pattern = pattern;
          c.page_tokens = std::min<std::int64_t>(c.page_tokens, 4);
          c.chunk = 23;
          if (c.owners != Owners::kCompute) c.owners = Owners::kRandom;
          const RandomSequence sequence(c.shape, tokens, 2, pattern);
          test::run_ranks(ranks, [&](Communicator& communicator) {
            test::CountingCommunicator counted(communicator);
            prefill(c, sequence, counted);
            Sent expected;
            for (std::int64_t first = 0; first < tokens; first += c.chunk) {
              const SequenceStorage storage{c.page_tokens, c.page_owners(), {}};
              const Sent one = sent_by(communicator.rank(), plan,
                                       split_shape(c.chunk_at(first), storage, c.pattern.mask),
                                       WireShape{c.shape});
              expected.bytes += 3 * one.bytes;  // layers
              expected.messages += 3 * one.messages;
            }
            EXPECT_EQ(counted.traffic().sent_bytes, expected.bytes) << c.description();
            EXPECT_EQ(counted.traffic().sent_messages, expected.messages) << c.description();
          });
        }
      }
    }
  }
}

TEST_P(StrategyTest, LateAndReorderedMessagesChangeNothing) {
  for (const PlannedStrategy& plan : plans(4)) {
    Case c = one_case(plan, 4, deals().front());
    c.tokens = 130;
    c.page_tokens = 8;
    const RandomSequence sequence(c.shape, c.tokens, 11);
    for (unsigned seed = 0; seed < 5; ++seed) {
      test::run_ranks(c.ranks, [&](Communicator& communicator) {
        test::DelayingCommunicator late(communicator, seed);
        prefill(c, sequence, late);
      });
    }
  }
}

TEST_P(StrategyTest, AHundredRunsGiveTheSameBits) {
  Case c = one_case(plans(4)[plans(4).size() / 2], 4, deals().front());
  c.tokens = 100;
  c.page_tokens = 8;
  const RandomSequence sequence(c.shape, c.tokens, 4);
  std::array<std::vector<float>, 4> first;
  test::run_ranks(c.ranks, [&](Communicator& communicator) {
    Group group(communicator, {0, 1, 2, 3});
    PagedRank rank(c.shape, c.page_tokens, 13);
    PrefillStrategies strategies(rank.device, *rank.kernels, c.limits(), {c.plan});
    PrefillAttention& attention = strategies.use(strategy());
    const auto storage = test::storage_on(group.rank(), c.page_tokens, c.page_owners());
    for (int run = 0; run < 100; ++run) {
      const auto rows = test::chunk_rows(rank, attention, group, c.chunk_at(0), storage, sequence);
      if (run == 0) first[group.rank()] = rows;
      EXPECT_EQ(rows, first[group.rank()]) << "run " << run;
    }
  });
}

TEST_P(StrategyTest, ALostPeerFailsTheStepInsteadOfHangingIt) {
  for (const PlannedStrategy& plan : plans(4)) {
    Case c = one_case(plan, 4, deals().front());
    c.tokens = 64;
    const RandomSequence sequence(c.shape, c.tokens, 6);
    test::run_ranks(
        c.ranks,
        [&](Communicator& communicator) {
          if (communicator.rank() == 2) return;  // never takes part
          Group group(communicator, {0, 1, 2, 3});
          PagedRank rank(c.shape, c.page_tokens, 4);
          PrefillStrategies strategies(rank.device, *rank.kernels, c.limits(), {c.plan});
          PrefillAttention& attention = strategies.use(strategy());
          const auto storage = test::storage_on(group.rank(), c.page_tokens, c.page_owners());
          EXPECT_THROW(test::run_chunk(rank, attention, group, c.chunk_at(0), storage, sequence),
                       CommError)
              << c.description() << ", rank " << group.rank();
        },
        std::chrono::milliseconds(300));
  }
}

INSTANTIATE_TEST_SUITE_P(All, StrategyTest, testing::ValuesIn(kStrategies), test_name);

/// Strategies whose keys pass every rank: where a page is kept changes neither result nor traffic.
class RetentionTest : public StrategyTest {};

TEST_P(RetentionTest, PagesMayBelongToAnyRank) {
  for (Owners owners : {Owners::kOneRank, Owners::kRandom}) {
    for (Layout layout : kLayouts) {
      for (int ranks : {2, 3, 4}) {
        for (const PlannedStrategy& plan : plans(ranks)) {
          Case c = one_case(plan, ranks, {layout, 8, owners});
          c.tokens = 203;
          c.chunk = 61;
          prefill_everywhere(c);
        }
      }
    }
  }
}

TEST_P(RetentionTest, RetentionElsewhereCostsNoByte) {
  std::array<std::uint64_t, 2> sent{};
  for (Owners owners : {Owners::kSpread, Owners::kOneRank}) {
    Case c = one_case(plans(4)[plans(4).size() / 2], 4, {Layout::kBlockCyclic, 8, owners});
    c.tokens = 128;
    const RandomSequence sequence(c.shape, c.tokens, 3);
    std::atomic<std::uint64_t> total = 0;
    test::run_ranks(c.ranks, [&](Communicator& communicator) {
      test::CountingCommunicator counted(communicator);
      prefill(c, sequence, counted);
      total += counted.traffic().sent_bytes;
    });
    sent[owners == Owners::kOneRank] = total;
  }
  EXPECT_EQ(sent[0], sent[1]);
  EXPECT_GT(sent[0], 0u);
}

INSTANTIATE_TEST_SUITE_P(PassingKeys, RetentionTest,
                         testing::Values(Strategy::kRing, Strategy::kAllGather,
                                         Strategy::kDoubleRing),
                         test_name);

}  // namespace
}  // namespace longspan
