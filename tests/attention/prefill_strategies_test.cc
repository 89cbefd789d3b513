#include "attention/prefill_strategies.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <iostream>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "attention/divisors.h"
#include "attention/split_shape.h"
#include "attention/strategy_traffic.h"
#include "comm/cpu/thread_communicator.h"
#include "comm/str.h"
#include "tests/attention/sequence_cluster.h"
#include "tests/attention/wrapped_kernels.h"
#include "tests/support/counting_communicator.h"
#include "tests/support/delaying_communicator.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using test::PagedRank;
using test::RandomSequence;

constexpr double kTolerance = 1e-5;
constexpr double kNarrowTolerance = 0.1;  // of values around 1: what is misread is further off
constexpr int kLayers = 3;                // of test::chunk_rows()
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
  KvType kv_type = KvType::kFloat32;
  bool narrow_columns = false;    // new ones travel as bfloat16, if pages are
  std::set<std::int64_t> cuts{};  // positions where a chunk ends, whatever its length

  std::string description() const {
    return str(
        "{} on {} ranks, {} tokens, {}/{} heads of {}, {}, pages of {} in {}, chunks of {}, owners "
        "{}, {}",
        describe(plan, ranks), ranks, tokens, shape.query_heads, shape.kv_heads, shape.head_dim,
        name(layout), page_tokens, name(kv_type), chunk, static_cast<int>(owners), pattern.name);
  }

  Deal chunk_at(std::int64_t first) const {
    return {.layout = layout,
            .first = first,
            .count = std::min(chunk, end_at_most(first) - first),
            .ranks = ranks,
            .block = page_tokens};
  }

  /// No more than its chunks need: a strategy that takes more throws.
  PrefillLimits limits() const {
    PrefillLimits most{.ranks = ranks, .kv_type = kv_type, .page_tokens = page_tokens};
    const SequenceStorage storage{page_tokens, page_owners(), {}};
    for (std::int64_t first = 0; first < tokens;) {
      const Deal deal = chunk_at(first);
      const SplitShape split = split_shape(deal, storage, pattern.mask);
      most.rows = std::max(most.rows, split.most_rows());
      most.columns = std::max(most.columns, split.longest_stream());
      most.all_rows = std::max(most.all_rows, split.new_tokens());
      most.all_columns = std::max(most.all_columns, split.columns());
      first += deal.count;
    }
    return most;
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
  std::int64_t end_at_most(std::int64_t first) const {
    const auto cut = cuts.upper_bound(first);
    return cut == cuts.end() ? tokens : *cut;
  }

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

Group everyone(Communicator& communicator, int ranks) {
  std::vector<int> list(ranks);
  std::iota(list.begin(), list.end(), 0);
  return Group(communicator, list);
}

/// Prefills on one rank of the cluster and returns the worst error it saw.
double prefill(const Case& c, const RandomSequence& sequence, Communicator& communicator) {
  Group group = everyone(communicator, c.ranks);
  const std::vector<int> owners = c.page_owners();
  PagedRank rank(c.shape, c.page_tokens, static_cast<int>(owners.size()), c.kv_type, kLayers);
  if (c.narrow_columns) {
    rank.kernels = std::make_unique<test::NarrowColumns>(std::move(rank.kernels));
  }
  PrefillStrategies strategies(rank.device, *rank.kernels, c.limits(), {c.plan});
  PrefillAttention& attention = strategies.use(c.plan.strategy);
  const auto storage = test::storage_on(group.rank(), c.page_tokens, owners);
  double worst = 0;
  for (std::int64_t first = 0; first < c.tokens;) {
    const Deal deal = c.chunk_at(first);
    worst = std::max(worst, test::run_chunk(rank, attention, group, deal, storage, sequence));
    first += deal.count;
    if (c.kv_type != KvType::kFloat32) continue;
    EXPECT_EQ(test::missing_columns(rank, group.rank(), storage, sequence, first), 0)
        << c.description() << ", rank " << group.rank();
  }
  const bool narrow = c.kv_type != KvType::kFloat32;
  EXPECT_LE(worst, narrow ? kNarrowTolerance : kTolerance)
      << c.description() << ", rank " << group.rank();
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

/// A chunk of one row, which one rank computes: the others serve it, and keep it if its page is
/// theirs.
TEST_P(StrategyTest, ALastChunkOfOneRowEqualsDenseAttention) {
  for (int ranks : {2, 3, 4}) {
    const std::int64_t chunk = 64 * ranks;
    const RandomSequence sequence(shape(ranks), chunk + 1, 11);
    for (const PlannedStrategy& plan : plans(ranks)) {
      for (const auto& deal : deals()) {
        Case c = one_case(plan, ranks, deal);
        c.tokens = chunk + 1;
        c.chunk = chunk;
        prefill_everywhere(c, sequence);
      }
    }
  }
}

/// The same prompt in one chunk to nine, cut anywhere: prefill() looks at every page each time.
TEST_P(StrategyTest, ChunksMayBeCutAnywhere) {
  constexpr std::int64_t kTokens = 256;
  std::mt19937 random(21);
  for (int ranks : {1, 3}) {
    const RandomSequence sequence(shape(ranks), kTokens, 11);
    for (int chunks = 1; chunks <= 9; ++chunks) {
      const auto all_deals = deals();
      Case c = one_case(plans(ranks).back(), ranks, all_deals[chunks % all_deals.size()]);
      c.tokens = kTokens;
      for (int cut = 1; cut < chunks; ++cut) {
        c.cuts.insert(1 + static_cast<std::int64_t>(random() % (kTokens - 1)));
      }
      prefill_everywhere(c, sequence);
    }
  }
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

/// Cached keys of every type at rest, in parts that windows, anchors, chunks and pages cut
/// anywhere.
TEST_P(StrategyTest, RandomCasesOverNarrowPagesAreAsCloseAsTheyAreRounded) {
  std::mt19937 random(6);
  const auto below = [&](std::size_t count) { return random() % count; };
  for (int round = 0; round < 60; ++round) {
    const int ranks = 1 + static_cast<int>(below(6));
    const auto all_plans = plans(ranks);
    Case c = one_case(all_plans[below(all_plans.size())], ranks, deals()[below(deals().size())]);
    c.tokens = 1 + static_cast<std::int64_t>(below(160));
    c.chunk = 1 + static_cast<std::int64_t>(below(80));
    if (c.owners != Owners::kCompute || c.page_tokens > 1) c.page_tokens = 1LL << below(8);
    if (c.owners != Owners::kCompute) c.owners = static_cast<Owners>(below(3));
    const auto length = [&] { return 1 + static_cast<std::int64_t>(below(90)); };
    if (below(2) == 0) c.pattern = Mask::window(length());
    if (below(3) == 0) c.pattern = test::sinks(length(), length());
    if (below(4) == 0) c.pattern = test::blocks({length(), length(), 2 * length()});
    if (below(6) == 0) c.pattern = Mask::full();
    c.kv_type = kKvTypes[1 + below(kKvTypes.size() - 1)];
    c.narrow_columns = below(2) == 0;
    prefill_everywhere(c);
  }
}

/// The bytes and messages of docs/algorithms.md, counted on the wire, over pages of each type in
/// turn.
TEST_P(StrategyTest, SendsExactlyWhatItsFormulaSays) {
  std::size_t turn = 0;
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
          c.kv_type = kKvTypes[turn % kKvTypes.size()];
          c.narrow_columns = turn++ % 3 == 0;
          const RandomSequence sequence(c.shape, tokens, 2, pattern);
          test::run_ranks(ranks, [&](Communicator& communicator) {
            test::CountingCommunicator counted(communicator);
            prefill(c, sequence, counted);
            const bool narrow = c.narrow_columns && c.kv_type == KvType::kBFloat16;
            const WireShape wire{.heads = c.shape, .at_rest = c.kv_type, .narrow_columns = narrow};
            Sent expected;
            for (std::int64_t first = 0; first < tokens; first += c.chunk) {
              const SequenceStorage storage{c.page_tokens, c.page_owners(), {}};
              const Sent one =
                  sent_by(communicator.rank(), plan,
                          split_shape(c.chunk_at(first), storage, c.pattern.mask), wire);
              expected.bytes += kLayers * one.bytes;
              expected.messages += kLayers * one.messages;
            }
            EXPECT_EQ(counted.traffic().sent_bytes, expected.bytes) << c.description();
            EXPECT_EQ(counted.traffic().sent_messages, expected.messages) << c.description();
          });
        }
      }
    }
  }
}

/// A rank's rows of the case's only chunk.
std::vector<float> rows_of(const Case& c, const RandomSequence& sequence,
                           Communicator& communicator) {
  Group group = everyone(communicator, c.ranks);
  PagedRank rank(c.shape, c.page_tokens, static_cast<int>(c.pages()));
  PrefillStrategies strategies(rank.device, *rank.kernels, c.limits(), {c.plan});
  const auto storage = test::storage_on(group.rank(), c.page_tokens, c.page_owners());
  return test::chunk_rows(rank, strategies.use(c.plan.strategy), group, c.chunk_at(0), storage,
                          sequence);
}

TEST_P(StrategyTest, LateAndReorderedMessagesChangeNoBit) {
  for (const PlannedStrategy& plan : plans(4)) {
    Case c = one_case(plan, 4, deals().front());
    c.tokens = 130;
    c.page_tokens = 8;
    const RandomSequence sequence(c.shape, c.tokens, 11);
    prefill_everywhere(c, sequence);
    std::array<std::vector<float>, 4> punctual;
    test::run_ranks(c.ranks, [&](Communicator& communicator) {
      punctual[communicator.rank()] = rows_of(c, sequence, communicator);
    });
    for (unsigned seed = 0; seed < 5; ++seed) {
      test::run_ranks(c.ranks, [&](Communicator& communicator) {
        test::DelayingCommunicator late(communicator, seed);
        EXPECT_EQ(rows_of(c, sequence, late), punctual[late.rank()])
            << c.description() << ", seed " << seed << ", rank " << late.rank();
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

/// Kernels that take their time over each copy of keys.
class LateCopies final : public test::WrappedKernels {
 public:
  using WrappedKernels::WrappedKernels;

  void copy_kv(Stream& stream, std::vector<KvCopy> copies) override {
    as_cpu(stream).enqueue([] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); });
    WrappedKernels::copy_kv(stream, std::move(copies));
  }
};

/// One rank keeps everything, and is late with it: meanwhile no stream may land where it reads.
TEST_P(RetentionTest, LateCopiesKeepTheRightKeys) {
  for (const PlannedStrategy& plan : plans(6)) {
    Case c = one_case(plan, 6, {Layout::kBlockCyclic, 8, Owners::kOneRank});
    c.tokens = 96;
    const RandomSequence sequence(c.shape, c.tokens, 11);
    test::run_ranks(c.ranks, [&](Communicator& communicator) {
      Group group = everyone(communicator, c.ranks);
      PagedRank rank(c.shape, c.page_tokens, static_cast<int>(c.pages()));
      rank.kernels = std::make_unique<LateCopies>(std::move(rank.kernels));
      PrefillStrategies strategies(rank.device, *rank.kernels, c.limits(), {c.plan});
      const auto storage = test::storage_on(group.rank(), c.page_tokens, c.page_owners());
      test::run_chunk(rank, strategies.use(c.plan.strategy), group, c.chunk_at(0), storage,
                      sequence);
      EXPECT_EQ(test::missing_columns(rank, group.rank(), storage, sequence, c.tokens), 0)
          << c.description() << ", rank " << group.rank();
    });
  }
}

/// A stream crosses to another node once for each of them but its own. Every rank has a page.
TEST(DoubleRingTest, NodesExchangeAsOftenAsThereAreOthers) {
  for (const auto& [nodes, devices] : {std::pair{1, 4}, {2, 4}, {4, 2}, {2, 3}}) {
    const int ranks = nodes * devices;
    const Case c{.plan = {Strategy::kDoubleRing, devices}, .ranks = ranks, .tokens = 16 * ranks};
    const RandomSequence sequence(c.shape, c.tokens, 2);
    test::run_ranks(c.ranks, [&, nodes = nodes, devices = devices](Communicator& communicator) {
      test::CountingCommunicator counted(communicator);
      rows_of(c, sequence, counted);
      std::uint64_t inside = 0, between = 0;
      for (int peer = 0; peer < c.ranks; ++peer) {
        const bool same_node = peer / devices == counted.rank() / devices;
        (same_node ? inside : between) += counted.with(peer).sent_messages;
      }
      EXPECT_EQ(between, 3u * (nodes - 1));  // layers
      EXPECT_EQ(inside, 3u * nodes * (devices - 1));
    });
  }
}

INSTANTIATE_TEST_SUITE_P(PassingKeys, RetentionTest,
                         testing::Values(Strategy::kRing, Strategy::kAllGather,
                                         Strategy::kDoubleRing),
                         test_name);

}  // namespace
}  // namespace longspan
