#include "attention/ring_attention.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <random>

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

enum class Owners { kSpread, kOneRank, kRandom };

/// One sequence, prefilled by all ranks in chunks; every row and every page is checked.
struct Case {
  int ranks = 1;
  std::int64_t tokens = 1;
  HeadShape shape{3, 1, 16};
  Layout layout = Layout::kBlockCyclic;
  std::int64_t page_tokens = 16;
  std::int64_t chunk = 1 << 20;
  Owners owners = Owners::kSpread;

  std::string description() const {
    return str("{} ranks, {} tokens, {}/{} heads of {}, {}, pages of {}, chunks of {}, owners {}",
               ranks, tokens, shape.query_heads, shape.kv_heads, shape.head_dim, name(layout),
               page_tokens, chunk, static_cast<int>(owners));
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

  std::vector<int> page_owners() const {
    std::vector<int> list((tokens + page_tokens - 1) / page_tokens);
    std::mt19937 random(static_cast<unsigned>(tokens));
    for (std::size_t page = 0; page < list.size(); ++page) {
      if (owners == Owners::kSpread) list[page] = static_cast<int>(page % ranks);
      if (owners == Owners::kOneRank) list[page] = ranks - 1;
      if (owners == Owners::kRandom) list[page] = static_cast<int>(random() % ranks);
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
  PrefillStrategies strategies(rank.device, *rank.kernels, c.limits(), {Strategy::kRing});
  PrefillAttention& ring = strategies.use(Strategy::kRing);
  const auto storage = test::storage_on(group.rank(), c.page_tokens, owners);
  double worst = 0;
  for (std::int64_t first = 0; first < c.tokens; first += c.chunk) {
    const Deal deal = c.chunk_at(first);
    worst = std::max(worst, test::run_chunk(rank, ring, group, deal, storage, sequence));
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
  return prefill_everywhere(c, RandomSequence(c.shape, c.tokens, 11));
}

std::vector<std::int64_t> hurting_lengths(std::int64_t ranks) {
  return {1, 2, ranks - 1, ranks, ranks + 1, 2 * ranks + 1, 127, 128, 129};
}

TEST(RingAttentionTest, EveryLayoutDegreeAndLengthEqualsDenseAttention) {
  double worst = 0;
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (Layout layout : kLayouts) {
      for (std::int64_t tokens : hurting_lengths(ranks)) {
        if (tokens < 1) continue;
        worst = std::max(worst,
                         prefill_everywhere({.ranks = ranks, .tokens = tokens, .layout = layout}));
      }
    }
  }
  std::cout << "worst error " << worst << '\n';
}

TEST(RingAttentionTest, AThousandTokensInChunksOverPagesOfAnySize) {
  constexpr std::array<std::int64_t, 3> kPages{1, 16, 128};
  constexpr std::array<std::int64_t, 4> kChunks{17, 64, 333, 1000};
  const RandomSequence sequence(Case{}.shape, 1000, 11);
  double worst = 0;
  for (std::size_t ranks = 1; ranks <= 8; ++ranks) {
    for (std::size_t layout = 0; layout < kLayouts.size(); ++layout) {
      const Case c{.ranks = static_cast<int>(ranks),
                   .tokens = sequence.tokens(),
                   .layout = kLayouts[layout],
                   .page_tokens = kPages[(ranks + 2 * layout) % 3],
                   .chunk = kChunks[(ranks + layout) % 4]};
      worst = std::max(worst, prefill_everywhere(c, sequence));
    }
  }
  std::cout << "worst error " << worst << '\n';
}

TEST(RingAttentionTest, AnyRatioOfHeadsAndAnyHeadSize) {
  double worst = 0;
  for (const HeadShape shape : {HeadShape{2, 2, 64}, HeadShape{6, 2, 64}, HeadShape{8, 2, 128},
                                HeadShape{16, 2, 64}, HeadShape{5, 1, 80}, HeadShape{2, 1, 256}}) {
    worst = std::max(worst, prefill_everywhere({.ranks = 3, .tokens = 150, .shape = shape}));
  }
  std::cout << "worst error " << worst << '\n';
}

TEST(RingAttentionTest, PagesMayBelongToAnyRank) {
  for (Owners owners : {Owners::kOneRank, Owners::kRandom}) {
    for (Layout layout : kLayouts) {
      for (int ranks : {2, 3, 5}) {
        prefill_everywhere({.ranks = ranks,
                            .tokens = 203,
                            .layout = layout,
                            .page_tokens = 8,
                            .chunk = 61,
                            .owners = owners});
      }
    }
  }
}

TEST(RingAttentionTest, RandomCasesEqualDenseAttention) {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    prefill_everywhere({.ranks = 1 + static_cast<int>(random() % 6),
                        .tokens = 1 + static_cast<std::int64_t>(random() % 160),
                        .layout = kLayouts[random() % kLayouts.size()],
                        .page_tokens = std::int64_t{1} << random() % 6,
                        .chunk = 1 + static_cast<std::int64_t>(random() % 80),
                        .owners = static_cast<Owners>(random() % 3)});
  }
}

TEST(RingAttentionTest, LateAndReorderedMessagesChangeNothing) {
  const Case c{.ranks = 4, .tokens = 130, .layout = Layout::kBlockCyclic, .page_tokens = 8};
  const RandomSequence sequence(c.shape, c.tokens, 11);
  for (unsigned seed = 0; seed < 5; ++seed) {
    test::run_ranks(c.ranks, [&](Communicator& communicator) {
      test::DelayingCommunicator late(communicator, seed);
      prefill(c, sequence, late);
    });
  }
}

/// Over three layers of every chunk, counted from the layout and the owners alone.
Traffic streams_the_successor_lacks(const Case& c, int rank) {
  Traffic traffic;
  const std::vector<int> owners = c.page_owners();
  for (std::int64_t first = 0; first < c.tokens; first += c.chunk) {
    const Deal deal = c.chunk_at(first);
    for (int source = 0; source < c.ranks; ++source) {
      std::int64_t columns = token_count(shard(deal, source));
      for (std::int64_t position = 0; position < first; ++position) {
        columns += owners[position / c.page_tokens] == source;
      }
      if (source == (rank + 1) % c.ranks || columns == 0) continue;
      traffic.sent_bytes += 3 * columns * c.shape.kv_values() * sizeof(float);
      traffic.sent_messages += 3;
    }
  }
  return traffic;
}

/// The bytes that docs/algorithms.md states: every stream but the successor's own is sent on.
TEST(RingAttentionTest, SendsExactlyTheStreamsTheSuccessorLacks) {
  const HeadShape shape{6, 2, 16};
  for (Layout layout : kLayouts) {
    for (int ranks : {1, 2, 3, 5}) {
      for (std::int64_t tokens : {1, 4, 37, 64}) {
        const Case c{.ranks = ranks,
                     .tokens = tokens,
                     .shape = shape,
                     .layout = layout,
                     .page_tokens = 4,
                     .chunk = 23,
                     .owners = Owners::kRandom};
        const RandomSequence sequence(shape, tokens, 2);
        test::run_ranks(ranks, [&](Communicator& communicator) {
          test::CountingCommunicator counted(communicator);
          prefill(c, sequence, counted);
          const Traffic expected = streams_the_successor_lacks(c, communicator.rank());
          EXPECT_EQ(counted.traffic().sent_bytes, expected.sent_bytes) << c.description();
          EXPECT_EQ(counted.traffic().sent_messages, expected.sent_messages) << c.description();
          for (int peer = 0; peer < ranks; ++peer) {
            const bool successor = ranks > 1 && peer == (communicator.rank() + 1) % ranks;
            EXPECT_EQ(counted.with(peer).sent_messages > 0, successor && expected.sent_messages > 0)
                << "to rank " << peer;
          }
        });
      }
    }
  }
}

TEST(RingAttentionTest, RetentionElsewhereCostsNoByte) {
  std::array<std::uint64_t, 2> sent{};
  for (Owners owners : {Owners::kSpread, Owners::kOneRank}) {
    const Case c{.ranks = 4, .tokens = 128, .page_tokens = 8, .owners = owners};
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

TEST(RingAttentionTest, AHundredRunsGiveTheSameBits) {
  const Case c{.ranks = 3, .tokens = 100, .shape = {6, 2, 16}, .page_tokens = 8};
  const RandomSequence sequence(c.shape, c.tokens, 4);
  std::array<std::vector<float>, 3> first;
  test::run_ranks(c.ranks, [&](Communicator& communicator) {
    Group group(communicator, {0, 1, 2});
    PagedRank rank(c.shape, c.page_tokens, 13);
    PrefillStrategies strategies(rank.device, *rank.kernels, c.limits(), {Strategy::kRing});
    PrefillAttention& ring = strategies.use(Strategy::kRing);
    const auto storage = test::storage_on(group.rank(), c.page_tokens, c.page_owners());
    const Deal deal{.count = c.tokens, .ranks = 3, .block = 8};
    for (int run = 0; run < 100; ++run) {
      const auto rows = test::chunk_rows(rank, ring, group, deal, storage, sequence);
      if (run == 0) first[group.rank()] = rows;
      EXPECT_EQ(rows, first[group.rank()]) << "run " << run;
    }
  });
}

TEST(RingAttentionTest, ALostPeerFailsTheStepInsteadOfHangingIt) {
  const Case c{.ranks = 3, .tokens = 48};
  const RandomSequence sequence(c.shape, c.tokens, 6);
  test::run_ranks(
      c.ranks,
      [&](Communicator& communicator) {
        if (communicator.rank() == 2) return;  // never takes part
        Group group(communicator, {0, 1, 2});
        PagedRank rank(c.shape, c.page_tokens, 3);
        PrefillStrategies strategies(rank.device, *rank.kernels, c.limits(), {Strategy::kRing});
        PrefillAttention& ring = strategies.use(Strategy::kRing);
        const auto storage = test::storage_on(group.rank(), c.page_tokens, c.page_owners());
        const Deal deal{.count = c.tokens, .ranks = 3, .block = 16};
        EXPECT_THROW(test::run_chunk(rank, ring, group, deal, storage, sequence), CommError);
      },
      std::chrono::milliseconds(300));
}

}  // namespace
}  // namespace longspan
