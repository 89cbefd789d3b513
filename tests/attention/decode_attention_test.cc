// Every decode strategy on ranks as threads, against dense attention over all keys of a row.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <span>
#include <string>

#include "attention/decode_row.h"
#include "attention/decode_strategies.h"
#include "attention/decode_traffic.h"
#include "attention/decode_tree.h"
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
constexpr int kLayers = 3;

/// A batch of sequences whose pages lie anywhere; each decodes its last token.
struct Batch {
  HeadShape shape{3, 1, 16};
  std::int64_t page_tokens = 8;
  int ranks = 1;
  std::vector<std::int64_t> lengths;
  std::vector<std::vector<int>> owners;  // of the pages of each sequence
  test::Pattern mask = Mask::causal();

  int master(std::size_t row) const { return owners[row][(lengths[row] - 1) / page_tokens]; }
  int pages() const {
    int total = 0;
    for (const auto& list : owners) total += static_cast<int>(list.size());
    return total;
  }
};

Batch random_batch(int ranks, std::vector<std::int64_t> lengths, unsigned seed,
                   const HeadShape& shape = {3, 1, 16}) {
  std::mt19937 random(seed);
  Batch batch{.shape = shape, .ranks = ranks, .lengths = std::move(lengths)};
  for (std::int64_t length : batch.lengths) {
    std::vector<int> owners((length + batch.page_tokens - 1) / batch.page_tokens);
    for (int& owner : owners) owner = static_cast<int>(random() % ranks);
    batch.owners.push_back(owners);
  }
  return batch;
}

std::vector<RandomSequence> sequences_of(const Batch& batch) {
  std::vector<RandomSequence> list;
  for (std::int64_t length : batch.lengths) {
    list.emplace_back(batch.shape, length, static_cast<int>(list.size()) + 20, batch.mask);
  }
  return list;
}

/// The batch as one rank sees it; slots of sequence after sequence.
DecodeBatch batch_on(int rank, const Batch& batch) {
  DecodeBatch view{.rank = rank, .size = batch.ranks, .rows = {}};
  std::int32_t next_slot = 0;
  for (std::size_t i = 0; i < batch.lengths.size(); ++i) {
    SequenceStorage storage{
        .page_tokens = batch.page_tokens, .owners = batch.owners[i], .slots = {}};
    for (int owner : batch.owners[i]) {
      if (owner == rank) storage.slots.push_back(next_slot++);
    }
    const DecodePlace place{.position = batch.lengths[i] - 1, .master = batch.master(i)};
    view.rows.push_back(decode_row(place, rank, storage, batch.mask.mask));
  }
  return view;
}

void fill_pages(const PagedRank& rank, int index, const Batch& batch, const DecodeBatch& view,
                const std::vector<RandomSequence>& sequences, float factor) {
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    KvView pages = rank.pages().rest;
    pages.table = view.rows[i].slots.data();
    std::int64_t column = 0;
    for (std::int64_t position = 0; position < batch.lengths[i]; ++position) {
      if (batch.owners[i][position / batch.page_tokens] != index) continue;
      sequences[i].store(position, pages, column++, factor);
    }
  }
}

/// What a rank got: the rows it holds, and their values of some heads.
struct Decoded {
  std::vector<int> rows;
  Slice heads;
  std::vector<float> values;  // (rows, heads.count, head_dim)
};

/// Whether `a` and `b` are the same to the bit.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

class DecodeAttentionTest : public testing::TestWithParam<DecodeStrategy> {
 protected:
  /// Decodes the batch on one rank of the cluster and checks the rows it holds.
  static Decoded decode(const Batch& batch, const std::vector<RandomSequence>& sequences,
                        Communicator& communicator) {
    std::vector<int> everyone(batch.ranks);
    std::iota(everyone.begin(), everyone.end(), 0);
    const Group group(communicator, everyone);
    const DecodeBatch view = batch_on(group.rank(), batch);
    PagedRank rank(batch.shape, batch.page_tokens, batch.pages());
    const DecodeStrategies strategies(
        rank.device, *rank.kernels,
        {.rows = static_cast<int>(view.rows.size()), .ranks = batch.ranks}, {GetParam()});
    DecodeAttention& attention = strategies.use(GetParam());
    Decoded result{.rows = held(view), .heads = attention.heads(view), .values = {}};
    const int width = batch.shape.query_heads * batch.shape.head_dim;
    const int out_width = result.heads.count * batch.shape.head_dim;
    const Buffer q = rank.new_buffer(std::ssize(result.rows) * width);
    const Buffer out = rank.new_buffer(std::ssize(result.rows) * out_width);
    const auto compute = rank.device.new_stream();
    for (int layer = 0; layer < kLayers; ++layer) {  // all differs: what is stale must show
      const auto factor = static_cast<float>(kLayers - layer);
      as_cpu(*compute).enqueue([&, factor] {
        fill_pages(rank, group.rank(), batch, view, sequences, factor);
        for (std::size_t i = 0; i < result.rows.size(); ++i) {
          const RandomSequence& sequence = sequences[result.rows[i]];
          const float* from = sequence.q(sequence.tokens() - 1);
          std::transform(from, from + width, q.as<float>().data() + i * width,
                         [&](float v) { return factor * v; });
        }
      });
      attention.run(*compute, group, view, rank.pages(), q.as<float>().data(),
                    out.as<float>().data());
    }
    compute->synchronize();
    EXPECT_EQ(attention.bad_lse_total(), 0);
    const auto values = out.as<float>();
    result.values.assign(values.begin(), values.end());
    check(result, batch, sequences);
    return result;
  }

  static void decode_everywhere(const Batch& batch) {
    const std::vector<RandomSequence> sequences = sequences_of(batch);
    test::run_ranks(batch.ranks,
                    [&](Communicator& communicator) { decode(batch, sequences, communicator); });
  }

 private:
  static std::vector<int> held(const DecodeBatch& view) {
    if (!mirrors_rows(GetParam())) return view.mastered(view.rank);
    std::vector<int> all(view.rows.size());
    std::iota(all.begin(), all.end(), 0);
    return all;
  }

  static void check(const Decoded& result, const Batch& batch,
                    const std::vector<RandomSequence>& sequences) {
    const int dim = batch.shape.head_dim;
    for (std::size_t i = 0; i < result.rows.size() && result.heads.count > 0; ++i) {
      const RandomSequence& sequence = sequences[result.rows[i]];
      const std::vector<double>& all_heads = sequence.expected(sequence.tokens() - 1);
      EXPECT_LE(test::worst_error(result.values.data() + i * result.heads.count * dim,
                                  std::span<const double>(all_heads).subspan(
                                      result.heads.first * dim, result.heads.count * dim)),
                kTolerance)
          << "row " << result.rows[i] << " of " << sequence.tokens() << " tokens on " << batch.ranks
          << " ranks";
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Strategies, DecodeAttentionTest, testing::ValuesIn(kDecodeStrategies),
                         [](const auto& one) { return std::string(name(one.param)); });

TEST_P(DecodeAttentionTest, EveryDegreeAndOwnerMapEqualsDenseAttention) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (unsigned seed = 0; seed < 3; ++seed) {
      decode_everywhere(random_batch(ranks, {1, 7, 8, 9, 130}, seed));
    }
  }
}

TEST_P(DecodeAttentionTest, AnyNumberOfRows) {
  for (const std::size_t rows : {0, 1, 7}) {
    for (int ranks : {1, 2, 5}) {
      decode_everywhere(random_batch(ranks, std::vector<std::int64_t>(rows, 41), 8));
    }
  }
}

TEST_P(DecodeAttentionTest, LongSequencesAreSplitAndMerged) {
  decode_everywhere(random_batch(2, {511, 512, 513, 1600}, 1));
}

/// Windows of one key, inside a page, over page borders and split borders, of more than there are.
TEST_P(DecodeAttentionTest, WindowsEqualDenseAttention) {
  for (std::int64_t window : {1, 3, 8, 9, 30, 140, 1000}) {
    for (int ranks : {1, 2, 3, 5}) {
      Batch batch = random_batch(ranks, {1, 7, 8, 9, 130}, static_cast<unsigned>(window));
      batch.mask = Mask::window(window);
      decode_everywhere(batch);
    }
  }
  Batch batch = random_batch(2, {700, 1600}, 1);
  batch.mask = Mask::window(600);
  decode_everywhere(batch);
}

/// Sinks inside a page, over pages of several ranks, that meet the window; blocks show a row behind
/// the prompt everything.
TEST_P(DecodeAttentionTest, SinksAndBlocksEqualDenseAttention) {
  for (const test::Pattern& pattern :
       {test::sinks(1, 1), test::sinks(4, 9), test::sinks(8, 30), test::sinks(21, 8),
        test::sinks(60, 70), test::sinks(4, 1000), test::blocks({8, 8, 1})}) {
    for (int ranks : {1, 2, 3, 5, 7}) {
      Batch batch = random_batch(ranks, {2, 7, 8, 9, 130}, static_cast<unsigned>(ranks));
      batch.mask = pattern;
      decode_everywhere(batch);
    }
  }
  Batch batch = random_batch(2, {700, 1600}, 1);
  batch.mask = test::sinks(9, 600);
  decode_everywhere(batch);
}

TEST_P(DecodeAttentionTest, AnyRatioOfHeads) {
  for (const HeadShape shape :
       {HeadShape{2, 2, 64}, HeadShape{8, 2, 32}, HeadShape{16, 2, 64}, HeadShape{6, 1, 128}}) {
    decode_everywhere(random_batch(3, {33, 100}, 2, shape));
  }
}

/// Of single tokens on eight ranks: 31, so that ranks hold four or three; fewer than there are
/// ranks.
TEST_P(DecodeAttentionTest, TokensDealtOneByOneMayNotGoRound) {
  Batch batch = random_batch(8, {31, 5, 1}, 3, {8, 8, 64});
  batch.page_tokens = 1;
  for (std::size_t row = 0; row < batch.lengths.size(); ++row) {
    batch.owners[row].resize(batch.lengths[row]);
    for (std::int64_t token = 0; token < batch.lengths[row]; ++token) {
      batch.owners[row][token] = static_cast<int>(token % 8);
    }
  }
  decode_everywhere(batch);
}

TEST_P(DecodeAttentionTest, FewerHeadsThanRanksAndMoreRowsThanEither) {
  decode_everywhere(random_batch(4, {9, 1, 40, 33, 8, 17, 64}, 5, {2, 2, 32}));
}

/// Dozens of splits on each rank.
TEST_P(DecodeAttentionTest, ContextsOfTensOfThousandsOfTokens) {
  decode_everywhere(random_batch(3, {64, 4096, 40'003}, 6, {1, 1, 16}));
}

TEST_P(DecodeAttentionTest, RanksMayHoldNoKeyOfAnyRow) {
  for (int heads : {3, 12, 24, 48}) {
    Batch batch = random_batch(5, {30, 64, 17}, 9, {heads, heads / 3, 16});
    for (auto& owners : batch.owners) {
      for (int& owner : owners) owner = 1 + owner % 2;  // 0, 3 and 4 own nothing
    }
    decode_everywhere(batch);
  }
}

TEST_P(DecodeAttentionTest, EveryRankMayBeMasterAndServeOthersInOneStep) {
  Batch batch = random_batch(4, std::vector<std::int64_t>(12, 65), 3);
  for (std::size_t row = 0; row < batch.owners.size(); ++row) batch.owners[row].back() = row % 4;
  decode_everywhere(batch);
}

/// Many short rows, few long ones, on one master, some or all.
TEST_P(DecodeAttentionTest, AnyNumberOfMasters) {
  for (int ranks = 1; ranks <= 4; ++ranks) {
    for (int masters : {1, 2, 4}) {
      if (masters > ranks) continue;
      for (const auto& [rows, length] : {std::pair{64, 10}, {16, 100}, {3, 1001}}) {
        Batch batch = random_batch(ranks, std::vector<std::int64_t>(rows, length), 13);
        for (int row = 0; row < rows; ++row) batch.owners[row].back() = row % masters;
        decode_everywhere(batch);
      }
    }
  }
}

TEST_P(DecodeAttentionTest, ManyRunsGiveTheSameBits) {
  const Batch batch = random_batch(3, {40, 50, 60, 700}, 7);
  const std::vector<RandomSequence> sequences = sequences_of(batch);
  std::array<std::vector<float>, 3> first;
  for (int run = 0; run < 30; ++run) {
    test::run_ranks(batch.ranks, [&](Communicator& communicator) {
      const std::vector<float> values = decode(batch, sequences, communicator).values;
      std::vector<float>& expected = first[communicator.rank()];
      if (run == 0) expected = values;
      EXPECT_TRUE(same_bits(values, expected)) << "run " << run << ", rank " << communicator.rank();
    });
  }
}

TEST_P(DecodeAttentionTest, LateMessagesChangeNoBit) {
  const Batch batch = random_batch(4, {40, 50, 60}, 4);
  const std::vector<RandomSequence> sequences = sequences_of(batch);
  std::array<std::vector<float>, 4> punctual;
  test::run_ranks(batch.ranks, [&](Communicator& communicator) {
    punctual[communicator.rank()] = decode(batch, sequences, communicator).values;
  });
  for (unsigned seed = 0; seed < 5; ++seed) {
    test::run_ranks(batch.ranks, [&](Communicator& communicator) {
      test::DelayingCommunicator late(communicator, seed);
      EXPECT_TRUE(same_bits(decode(batch, sequences, late).values, punctual[late.rank()]))
          << "seed " << seed << ", rank " << late.rank();
    });
  }
}

TEST_P(DecodeAttentionTest, MirroredRowsAreTheSameBitsOnEveryRank) {
  if (GetParam() != DecodeStrategy::kMirrored) return;
  const Batch batch = random_batch(5, {40, 50, 60, 1}, 11);
  const std::vector<RandomSequence> sequences = sequences_of(batch);
  std::array<std::vector<float>, 5> all;
  test::run_ranks(batch.ranks, [&](Communicator& communicator) {
    all[communicator.rank()] = decode(batch, sequences, communicator).values;
  });
  for (const auto& values : all) EXPECT_TRUE(same_bits(values, all[0]));
}

/// Of 64 tokens in pages of 8 on four ranks in turn, the last 17 lie on three pages.
TEST_P(DecodeAttentionTest, OwnersWithoutAColumnInTheWindowHearNothing) {
  if (GetParam() != DecodeStrategy::kShipped) return;  // whose bytes these are
  Batch batch = random_batch(4, {64}, 5);
  batch.owners[0] = {0, 1, 2, 3, 0, 1, 2, 3};
  const std::uint64_t query = batch.shape.query_heads * batch.shape.head_dim * sizeof(float);
  for (const auto& [window, asked] : {std::pair{8, 0}, {9, 1}, {16, 1}, {17, 2}, {64, 3}}) {
    batch.mask = Mask::window(window);
    const std::vector<RandomSequence> sequences = sequences_of(batch);
    test::run_ranks(batch.ranks, [&](Communicator& communicator) {
      test::CountingCommunicator counted(communicator);
      decode(batch, sequences, counted);
      if (communicator.rank() == 3) {
        EXPECT_EQ(counted.traffic().sent_bytes, kLayers * asked * query) << "window " << window;
      }
      if (communicator.rank() + asked < 3) {
        EXPECT_EQ(counted.traffic().sent_messages, 0u) << "window " << window;
      }
    });
  }
}

/// Uneven owners, a row that lies with its master alone, ranks without a key.
TEST_P(DecodeAttentionTest, SendsExactlyWhatItsFormulaSays) {
  for (int ranks : {1, 2, 3, 4, 7}) {
    Batch batch = random_batch(ranks, {30, 64, 17, 40, 9}, 5);
    batch.owners[0].assign(batch.owners[0].size(), ranks / 2);
    const std::vector<RandomSequence> sequences = sequences_of(batch);
    test::run_ranks(ranks, [&](Communicator& communicator) {
      decode(batch, sequences, communicator);
      const Traffic traffic = communicator.traffic();
      const Sent sent = decode_sent_by(communicator.rank(), GetParam(),
                                       batch_on(communicator.rank(), batch), {batch.shape});
      EXPECT_EQ(traffic.sent_bytes, static_cast<std::uint64_t>(kLayers * sent.bytes));
      // Between threads, where exchanges are prompt, a rank's only row goes as it lies.
      const bool apart =
          GetParam() == DecodeStrategy::kSliced &&
          batch_on(communicator.rank(), batch).owned(communicator.rank()).size() == 1;
      EXPECT_EQ(traffic.sent_messages,
                static_cast<std::uint64_t>(kLayers * sent.messages * (apart ? 2 : 1)));
      if (ranks == 1) {
        test::CountingCommunicator counted(communicator);
        decode(batch, sequences, counted);
        EXPECT_EQ(counted.exchanges(), 0);
        EXPECT_EQ(traffic.sent_messages, 0u);
      }
    });
  }
}

/// One after the other, so what matters where latency does.
TEST_P(DecodeAttentionTest, ExchangesInARowAreAsFewAsPromised) {
  for (int ranks : {2, 3, 5, 8}) {
    const Batch batch = random_batch(ranks, std::vector<std::int64_t>(6, 200), 12);
    const std::vector<RandomSequence> sequences = sequences_of(batch);
    test::run_ranks(ranks, [&](Communicator& communicator) {
      test::CountingCommunicator counted(communicator);
      decode(batch, sequences, counted);
      int most = 1;
      if (GetParam() == DecodeStrategy::kShipped) most = 2;
      if (GetParam() == DecodeStrategy::kTree) most = 2 * tree_levels(ranks);
      EXPECT_LE(counted.exchanges(), kLayers * most);
      EXPECT_GT(counted.exchanges(), 0);
    });
  }
}

/// Where only masters hold rows, a row concerns its owners alone.
TEST_P(DecodeAttentionTest, OnlyOwnersTakePartWhereRowsAreNotMirrored) {
  if (mirrors_rows(GetParam())) return;
  Batch batch = random_batch(6, {64, 80}, 5);
  for (std::size_t page = 0; page < batch.owners[0].size(); ++page)
    batch.owners[0][page] = page % 2;
  for (std::size_t page = 0; page < batch.owners[1].size(); ++page) {
    batch.owners[1][page] = 2 + page % 3;
  }
  const std::vector<RandomSequence> sequences = sequences_of(batch);
  test::run_ranks(batch.ranks, [&](Communicator& communicator) {
    test::CountingCommunicator counted(communicator);
    const auto part_of = [](int rank) { return rank < 2 ? 0 : rank < 5 ? 1 : 2; };
    for (int peer = 0; peer < batch.ranks; ++peer) {
      const bool apart = part_of(peer) != part_of(communicator.rank());
      if (apart) counted.forbid(peer);
    }
    decode(batch, sequences, counted);
    if (communicator.rank() == 5) {
      EXPECT_EQ(counted.exchanges(), 0);
    }
  });
}

}  // namespace
}  // namespace longspan
