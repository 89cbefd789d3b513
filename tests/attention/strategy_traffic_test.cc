// The formulas against messages written down one by one, the way each algorithm is told.

#include "attention/strategy_traffic.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <stdexcept>

namespace longspan {
namespace {

constexpr HeadShape kHeads{.query_heads = 12, .kv_heads = 3, .head_dim = 16};

/// A group that sends: every message is entered with its bytes.
class Ledger {
 public:
  explicit Ledger(int ranks) : sent_(ranks) {}
  void message(int from, std::int64_t bytes) {
    if (bytes == 0) return;
    sent_[from].bytes += bytes;
    sent_[from].messages += 1;
  }
  const Sent& by(int rank) const { return sent_[rank]; }

 private:
  std::vector<Sent> sent_;
};

SplitShape random_shape(std::mt19937& random, int ranks) {
  SplitShape shape;
  const auto draw = [&](int most) { return std::uniform_int_distribution<int>(0, most)(random); };
  for (int r = 0; r < ranks; ++r) {
    const int gap = draw(1) == 0 ? 0 : draw(30);
    shape.anchored.push_back(gap == 0 || draw(1) == 0 ? 0 : draw(40));
    shape.first_cached.push_back(shape.anchored.back() + gap);
    shape.cached.push_back(shape.anchored.back() + (draw(2) == 0 ? 0 : draw(50)));
    shape.rows.push_back(draw(2) == 0 ? 0 : draw(20));
  }
  shape.page_tokens = std::int64_t{1} << draw(5);
  shape.masked.assign(ranks * ranks, 0);
  return shape;
}

/// Things go round `ranks`, each rank holding its own first; returns who held what in which order.
std::vector<std::vector<int>> ring(int size) {
  std::vector<std::vector<int>> held(size);
  for (int r = 0; r < size; ++r) held[r] = {r};
  for (int step = 1; step < size; ++step) {
    const auto before = held;
    for (int r = 0; r < size; ++r) held[r].push_back(before[(r + size - 1) % size].back());
  }
  return held;
}

Ledger told(const PlannedStrategy& plan, const SplitShape& shape, const WireShape& wire) {
  const int size = shape.size();
  Ledger ledger(size);
  const std::int64_t e = wire.value_bytes, dim = wire.heads.head_dim;
  const auto kv = [&](int j, int heads) { return shape.stream(j) * 2 * heads * dim * e; };
  // A stream as it leaves its rank: what is cached of it column by column, with the scales of each
  // page that has them.
  const auto some = [&](int j, int heads) {
    if (!wire.at_rest) return kv(j, heads);
    const std::int64_t values = 2LL * heads * wire.heads.head_dim;
    const auto pieces = shape.cached_columns(j);
    const std::int64_t held = pieces.back().end;
    std::int64_t bytes = shape.rows[j] * values * e;
    for (const auto& [begin, end] : pieces) {
      std::int64_t last_page = -1;
      for (std::int64_t column = begin; column < end; ++column) {
        const std::int64_t page = column / shape.page_tokens;
        const bool rounded =
            *wire.at_rest == KvType::kInt8 && (page + 1) * shape.page_tokens <= held;
        if (rounded && page != last_page) bytes += 2 * heads * 4;
        last_page = page;
        bytes += values * (*wire.at_rest == KvType::kFloat32 ? 4 : rounded ? 1 : 2);
      }
    }
    return bytes;
  };
  const auto whole = [&](int j) { return some(j, wire.heads.kv_heads); };
  const auto q = [&](int j, int heads) { return shape.rows[j] * heads * dim * e; };
  const auto partial = [&](int j) {
    return shape.rows[j] * wire.heads.query_heads * (dim * wire.partial_bytes + 4);
  };
  const int all_q = wire.heads.query_heads;
  const auto returns = [&] {
    for (int r = 0; r < size; ++r) {
      for (int j = 0; j < size; ++j) {
        if (j != r && shape.stream(r) > 0) ledger.message(r, partial(j));
      }
    }
  };
  // Which KV heads the query heads of one of `degree` ranks read, one by one.
  const auto kv_set = [&](int degree, int part) {
    std::set<int> heads;
    for (int h = part * all_q / degree; h < (part + 1) * all_q / degree; ++h) {
      heads.insert(h / wire.heads.group());
    }
    return static_cast<int>(heads.size());
  };
  const auto head_exchange = [&](int degree) {
    for (int r = 0; r < size; ++r) {
      for (int peer = 0; peer < size; ++peer) {
        if (peer == r || peer / degree != r / degree) continue;
        ledger.message(r, q(r, all_q / degree) + some(r, kv_set(degree, peer % degree)));
        ledger.message(r, q(peer, all_q / degree));
      }
    }
  };
  switch (plan.strategy) {
    case Strategy::kRing:
      for (int r = 0; r < size; ++r) {
        const auto held = ring(size)[r];
        for (int step = 0; step + 1 < size; ++step) ledger.message(r, whole(held[step]));
      }
      break;
    case Strategy::kQueryRing:
      for (int r = 0; r < size; ++r) {
        const auto held = ring(size)[r];
        for (int step = 0; step + 1 < size; ++step) ledger.message(r, q(held[step], all_q));
      }
      returns();
      break;
    case Strategy::kAllGather:
      for (int r = 0; r < size; ++r) {
        for (int peer = 1; peer < size; ++peer) ledger.message(r, whole(r));
      }
      break;
    case Strategy::kGatherQuery:
      for (int r = 0; r < size; ++r) {
        for (int peer = 0; peer < size; ++peer) {
          if (peer != r && shape.stream(peer) > 0) ledger.message(r, q(r, all_q));
        }
      }
      returns();
      break;
    case Strategy::kUlysses:
      head_exchange(size);
      break;
    case Strategy::kUsp: {
      head_exchange(plan.inner);
      const int parts = size / plan.inner;
      for (int r = 0; r < size; ++r) {
        const auto held = ring(parts)[r / plan.inner];
        for (int step = 0; step + 1 < parts; ++step) {
          std::int64_t bytes = 0;
          for (int u = 0; u < plan.inner; ++u) {
            bytes += kv(held[step] * plan.inner + u, kv_set(plan.inner, r % plan.inner));
          }
          ledger.message(r, bytes);
        }
      }
      break;
    }
    case Strategy::kDoubleRing: {
      const int hosts = size / plan.inner;
      for (int r = 0; r < size; ++r) {
        const auto outer = ring(hosts)[r / plan.inner];
        const auto inner = ring(plan.inner)[r % plan.inner];
        std::set<int> visited;
        for (int o = 0; o < hosts; ++o) {
          for (int k = 0; k < plan.inner; ++k) {
            visited.insert(outer[o] * plan.inner + inner[k]);
            if (k + 1 < plan.inner) {
              ledger.message(r, whole(outer[o] * plan.inner + inner[k]));
            }
          }
          if (o + 1 < hosts) ledger.message(r, whole(outer[o] * plan.inner + r % plan.inner));
        }
        EXPECT_EQ(std::ssize(visited), size) << "each shard once";
      }
      break;
    }
  }
  return ledger;
}

std::vector<PlannedStrategy> plans_for(int ranks) {
  std::vector<PlannedStrategy> plans;
  for (Strategy strategy : kStrategies) {
    for (int inner = 1; inner <= ranks; ++inner) {
      const bool divides = ranks % inner == 0;
      const bool two_level = strategy == Strategy::kUsp || strategy == Strategy::kDoubleRing;
      if (two_level ? !divides : inner != 1) continue;
      if (strategy == Strategy::kUsp && kHeads.query_heads % inner != 0) continue;
      if (strategy == Strategy::kUlysses && kHeads.query_heads % ranks != 0) continue;
      plans.push_back({strategy, inner});
    }
  }
  return plans;
}

TEST(StrategyTrafficTest, FormulasEqualTheMessagesOfEachAlgorithm) {
  std::mt19937 random(5);
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int round = 0; round < 40; ++round) {
      const SplitShape shape = random_shape(random, ranks);
      WireShape wire{kHeads, round % 2 == 0 ? 4 : 2, round % 3 == 0 ? 2 : 4};
      if (round % 5 > 0) wire.at_rest = kKvTypes[round % 5 - 1];
      for (const PlannedStrategy& plan : plans_for(ranks)) {
        const Ledger ledger = told(plan, shape, wire);
        for (int r = 0; r < ranks; ++r) {
          const Sent sent = sent_by(r, plan, shape, wire);
          EXPECT_EQ(sent.bytes, ledger.by(r).bytes) << describe(plan, ranks) << " rank " << r;
          EXPECT_EQ(sent.messages, ledger.by(r).messages) << describe(plan, ranks) << " rank " << r;
        }
      }
    }
  }
}

TEST(StrategyTrafficTest, ARankAloneSendsAndStagesNothing) {
  const SplitShape shape = even_split(100, 300, 1);
  for (const PlannedStrategy& plan : plans_for(1)) {
    EXPECT_EQ(sent_by(0, plan, shape, {kHeads}).messages, 0) << describe(plan, 1);
    EXPECT_EQ(staging_bytes(plan, shape, {kHeads}), 0) << describe(plan, 1);
  }
}

TEST(StrategyTrafficTest, EqualShardsSendWhatTheTableSays) {
  const SplitShape shape = even_split(400, 1200, 4);
  const WireShape wire{kHeads};
  const std::int64_t kappa = 2 * 3 * 16 * 4, qb = 12 * 16 * 4, omega = 12 * 17 * 4;
  EXPECT_EQ(wire.kv_bytes(), kappa);
  EXPECT_EQ(wire.query_bytes(), qb);
  EXPECT_EQ(wire.partial_row_bytes(), omega);
  const auto sent = [&](Strategy strategy, int inner = 1) {
    return sent_by(1, {strategy, inner}, shape, wire);
  };
  EXPECT_EQ(sent(Strategy::kRing).bytes, 3 * 400 * kappa);
  EXPECT_EQ(sent(Strategy::kAllGather).bytes, 3 * 400 * kappa);
  EXPECT_EQ(sent(Strategy::kQueryRing).bytes, 3 * 100 * (qb + omega));
  EXPECT_EQ(sent(Strategy::kGatherQuery).bytes, 3 * 100 * (qb + omega));
  EXPECT_EQ(sent(Strategy::kQueryRing).messages, 6);
  EXPECT_EQ(sent(Strategy::kUlysses).messages, 6);
  EXPECT_EQ(sent(Strategy::kUsp, 2).messages, 2 + 1);
  EXPECT_EQ(sent(Strategy::kDoubleRing, 2).messages, 3);
}

// 12 query heads over 2 KV heads by 3 and 4 ranks; 28 over 4 by 7; as many of both.
TEST(StrategyTrafficTest, KvHeadsAreReplicatedInFlightWhereTheyMust) {
  const auto counts = [](int query_heads, int kv_heads, int degree) {
    std::vector<int> all;
    for (int part = 0; part < degree; ++part) {
      all.push_back(kv_heads_read({query_heads, kv_heads, 64}, degree, part));
    }
    return all;
  };
  EXPECT_EQ(counts(12, 2, 3), (std::vector{1, 2, 1}));
  EXPECT_EQ(counts(12, 2, 4), (std::vector{1, 1, 1, 1}));
  EXPECT_EQ(counts(28, 4, 7), (std::vector{1, 2, 1, 2, 1, 2, 1}));
  EXPECT_EQ(counts(12, 12, 4), (std::vector{3, 3, 3, 3}));
}

// kappa / (qb + omega): 0.166 with fp32 partials, 0.248 with bf16 ones.
TEST(StrategyTrafficTest, PassingQueriesIsCheaperBelowTheByteCrossover) {
  const HeadShape llama{.query_heads = 32, .kv_heads = 8, .head_dim = 128};
  constexpr std::int64_t kLength = 1'000'000;
  for (const auto& [partial_bytes, crossover] : {std::pair(4, 0.1658), std::pair(2, 0.2481)}) {
    const WireShape wire{llama, 2, partial_bytes};
    for (const double side : {0.99, 1.01}) {
      const auto rows = static_cast<std::int64_t>(crossover * side * kLength);
      const SplitShape shape = even_split(rows, kLength - rows, 4);
      const auto bytes = [&](Strategy strategy) {
        return sent_by(0, {strategy, 1}, shape, wire).bytes;
      };
      EXPECT_EQ(bytes(Strategy::kQueryRing) < bytes(Strategy::kRing), side < 1) << partial_bytes;
    }
  }
}

TEST(StrategyTrafficTest, StagingIsTheMemoryColumnOfTheTable) {
  const SplitShape shape{
      .cached = {100, 90, 80, 0}, .rows = {10, 20, 0, 30}, .masked = std::vector<std::int64_t>(16)};
  const WireShape wire{kHeads};
  const std::int64_t kappa = 384, qb = 768, omega = 816;
  const auto bytes = [&](int rank, Strategy strategy, int inner = 1) {
    return staging_bytes(rank, {strategy, inner}, shape, wire);
  };
  EXPECT_EQ(bytes(0, Strategy::kRing), 2 * 110 * kappa);
  EXPECT_EQ(bytes(3, Strategy::kAllGather), (330 - 30) * kappa);
  EXPECT_EQ(bytes(1, Strategy::kQueryRing), 2 * 30 * (qb + omega) + 4 * 20 * omega);
  EXPECT_EQ(bytes(2, Strategy::kGatherQuery), 60 * (qb + omega));
  EXPECT_EQ(bytes(0, Strategy::kUlysses), 60 * qb / 4 * 2 + 330 * kappa / 3);
  EXPECT_EQ(bytes(3, Strategy::kUsp, 2), 30 * qb / 2 * 2 + 110 * 256 + 2 * 220 * 256);
  EXPECT_EQ(bytes(0, Strategy::kDoubleRing, 2), 3 * 110 * kappa);
  EXPECT_EQ(staging_bytes({Strategy::kAllGather, 1}, shape, wire), bytes(3, Strategy::kAllGather));
}

// A new token has 384 bytes; at rest in int8 96, and each page 24 of scales.
TEST(StrategyTrafficTest, CachedKeysAreStagedAsTheyAreAtRest) {
  const SplitShape shape{.cached = {100, 90, 80, 0},
                         .rows = {10, 20, 0, 30},
                         .masked = std::vector<std::int64_t>(16),
                         .first_cached = {0, 6, 0, 0},
                         .page_tokens = 16};
  const auto bytes = [&](KvType type, Strategy strategy, int inner = 1) {
    const WireShape wire{.heads = kHeads, .at_rest = type};
    return staging_bytes(3, {strategy, inner}, shape, wire);
  };
  EXPECT_EQ(bytes(KvType::kFloat32, Strategy::kRing), 2 * 110 * 384);
  EXPECT_EQ(bytes(KvType::kBFloat16, Strategy::kRing), 2 * (20 * 384 + 90 * 192));
  EXPECT_EQ(bytes(KvType::kBFloat16, Strategy::kAllGather), 30 * 384 + 270 * 192);
  // 6 pages and 4 tokens; a broken page of 10 and 5 whole ones; 5 whole ones.
  const std::int64_t of_0 = 6 * (16 * 96 + 24) + 4 * 192, of_1 = 90 * 96 + 6 * 24,
                     of_2 = 80 * 96 + 5 * 24;
  EXPECT_EQ(bytes(KvType::kInt8, Strategy::kAllGather), 30 * 384 + of_0 + of_1 + of_2);
  EXPECT_EQ(bytes(KvType::kInt8, Strategy::kDoubleRing, 2), 3 * (20 * 384 + of_1));
  EXPECT_EQ(bytes(KvType::kInt8, Strategy::kUsp, 2), bytes(KvType::kFloat32, Strategy::kUsp, 2));
}

TEST(StrategyTrafficTest, PlansThatDivideNothingAreTheCallersMistake) {
  const SplitShape shape = even_split(10, 10, 5);
  EXPECT_THROW(sent_by(0, {Strategy::kUlysses, 1}, shape, {kHeads}), std::logic_error);
  EXPECT_THROW(sent_by(0, {Strategy::kUsp, 2}, shape, {kHeads}), std::logic_error);
  EXPECT_THROW(sent_by(5, {Strategy::kRing, 1}, shape, {kHeads}), std::logic_error);
}

}  // namespace
}  // namespace longspan
