#include "attention/decode_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <numeric>
#include <random>

#include "attention/decode_row.h"
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
  Mask mask = Mask::causal();

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
  DecodeBatch view{.rank = rank, .size = batch.ranks, .page_tokens = batch.page_tokens, .rows = {}};
  std::int32_t next_slot = 0;
  for (std::size_t i = 0; i < batch.lengths.size(); ++i) {
    SequenceStorage storage{
        .page_tokens = batch.page_tokens, .owners = batch.owners[i], .slots = {}};
    for (int owner : batch.owners[i]) {
      if (owner == rank) storage.slots.push_back(next_slot++);
    }
    const DecodePlace place{.position = batch.lengths[i] - 1, .master = batch.master(i)};
    view.rows.push_back(decode_row(place, rank, storage, batch.mask));
  }
  return view;
}

void fill_pages(const PagedRank& rank, int index, const Batch& batch, const DecodeBatch& view,
                const std::vector<RandomSequence>& sequences, float factor) {
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    KvView pages = rank.pages();
    pages.table = view.rows[i].slots.data();
    std::int64_t column = 0;
    for (std::int64_t position = 0; position < batch.lengths[i]; ++position) {
      if (batch.owners[i][position / batch.page_tokens] != index) continue;
      sequences[i].store(position, pages, column++, factor);
    }
  }
}

/// Decodes the batch on one rank of the cluster, checks the rows it masters and returns them.
std::vector<float> decode(const Batch& batch, const std::vector<RandomSequence>& sequences,
                          Communicator& communicator) {
  std::vector<int> everyone(batch.ranks);
  std::iota(everyone.begin(), everyone.end(), 0);
  const Group group(communicator, everyone);
  const DecodeBatch view = batch_on(group.rank(), batch);
  const std::vector<int> mine = view.mastered(group.rank());
  PagedRank rank(batch.shape, batch.page_tokens, batch.pages());
  DecodeAttention attention(rank.device, *rank.kernels, static_cast<int>(view.rows.size()),
                            batch.ranks);
  const int width = batch.shape.query_heads * batch.shape.head_dim;
  const Buffer q = rank.new_buffer(std::ssize(mine) * width);
  const Buffer out = rank.new_buffer(std::ssize(mine) * width);
  const auto compute = rank.device.new_stream();
  for (int layer = 0; layer < kLayers; ++layer) {  // all differs: what is stale must show
    const auto factor = static_cast<float>(kLayers - layer);
    as_cpu(*compute).enqueue([&, factor] {
      fill_pages(rank, group.rank(), batch, view, sequences, factor);
      for (std::size_t i = 0; i < mine.size(); ++i) {
        const RandomSequence& sequence = sequences[mine[i]];
        std::transform(sequence.q(sequence.tokens() - 1), sequence.q(sequence.tokens() - 1) + width,
                       q.as<float>().data() + i * width, [&](float v) { return factor * v; });
      }
    });
    attention.run(*compute, group, view, rank.pages(), q.as<float>().data(),
                  out.as<float>().data());
  }
  compute->synchronize();
  for (std::size_t i = 0; i < mine.size(); ++i) {
    const RandomSequence& sequence = sequences[mine[i]];
    EXPECT_LE(test::worst_error(out.as<float>().data() + i * width,
                                sequence.expected(sequence.tokens() - 1)),
              kTolerance)
        << "row " << mine[i] << " of " << sequence.tokens() << " tokens on " << batch.ranks
        << " ranks";
  }
  const auto bits = out.as<float>();
  return {bits.begin(), bits.end()};
}

void decode_everywhere(const Batch& batch) {
  const std::vector<RandomSequence> sequences = sequences_of(batch);
  test::run_ranks(batch.ranks,
                  [&](Communicator& communicator) { decode(batch, sequences, communicator); });
}

TEST(DecodeAttentionTest, EveryDegreeAndOwnerMapEqualsDenseAttention) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (unsigned seed = 0; seed < 4; ++seed) {
      decode_everywhere(random_batch(ranks, {1, 7, 8, 9, 130}, seed));
    }
  }
}

TEST(DecodeAttentionTest, LongSequencesAreSplitAndMerged) {
  decode_everywhere(random_batch(2, {511, 512, 513, 1600}, 1));
}

/// Windows of one key, inside a page, over page borders and split borders, of more than there are.
TEST(DecodeAttentionTest, WindowsEqualDenseAttention) {
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

TEST(DecodeAttentionTest, AnyRatioOfHeads) {
  for (const HeadShape shape :
       {HeadShape{2, 2, 64}, HeadShape{8, 2, 32}, HeadShape{16, 2, 64}, HeadShape{6, 1, 128}}) {
    decode_everywhere(random_batch(3, {33, 100}, 2, shape));
  }
}

TEST(DecodeAttentionTest, EveryRankMayBeMasterAndServeOthersInOneStep) {
  Batch batch = random_batch(4, std::vector<std::int64_t>(12, 65), 3);
  for (std::size_t row = 0; row < batch.owners.size(); ++row) batch.owners[row].back() = row % 4;
  decode_everywhere(batch);
}

TEST(DecodeAttentionTest, AHundredRunsGiveTheSameBits) {
  const Batch batch = random_batch(3, {40, 50, 60, 700}, 7);
  const std::vector<RandomSequence> sequences = sequences_of(batch);
  std::array<std::vector<float>, 3> first;
  for (int run = 0; run < 100; ++run) {
    test::run_ranks(batch.ranks, [&](Communicator& communicator) {
      const std::vector<float> rows = decode(batch, sequences, communicator);
      std::vector<float>& expected = first[communicator.rank()];
      if (run == 0) expected = rows;
      ASSERT_EQ(rows.size(), expected.size());
      EXPECT_EQ(std::memcmp(rows.data(), expected.data(), rows.size() * sizeof(float)), 0)
          << "run " << run << ", rank " << communicator.rank();
    });
  }
}

TEST(DecodeAttentionTest, LateMessagesChangeNothing) {
  const Batch batch = random_batch(3, {40, 50, 60}, 4);
  const std::vector<RandomSequence> sequences = sequences_of(batch);
  for (unsigned seed = 0; seed < 5; ++seed) {
    test::run_ranks(batch.ranks, [&](Communicator& communicator) {
      test::DelayingCommunicator late(communicator, seed);
      decode(batch, sequences, late);
    });
  }
}

/// Queries go to owners only, partials come back to the master only: D1 in docs/algorithms.md. A
/// row whose pages all lie with its master sends nothing.
TEST(DecodeAttentionTest, SendsQueriesToOwnersAndPartialsToMastersAndNothingElse) {
  Batch batch = random_batch(4, {30, 64, 17, 40}, 5);
  batch.owners[0].assign(batch.owners[0].size(), 2);  // local to rank 2
  const std::vector<RandomSequence> sequences = sequences_of(batch);
  const std::uint64_t query = batch.shape.query_heads * batch.shape.head_dim * sizeof(float);
  const std::uint64_t partial =
      batch.shape.query_heads * (batch.shape.head_dim + 1) * sizeof(float);
  test::run_ranks(batch.ranks, [&](Communicator& communicator) {
    test::CountingCommunicator counted(communicator);
    decode(batch, sequences, counted);
    const int self = communicator.rank();
    const auto shipped = [&](int master, int owner) {
      std::uint64_t rows = 0;
      for (std::size_t i = 0; i < batch.owners.size(); ++i) {
        rows += batch.master(i) == master && std::ranges::count(batch.owners[i], owner) > 0;
      }
      return rows;
    };
    for (int peer = 0; peer < batch.ranks; ++peer) {
      if (peer == self) continue;
      const std::uint64_t out = shipped(self, peer), in = shipped(peer, self);
      EXPECT_EQ(counted.with(peer).sent_bytes, kLayers * (out * query + in * partial));
      EXPECT_EQ(counted.with(peer).sent_messages,
                static_cast<std::uint64_t>(kLayers * ((out > 0) + (in > 0))));
    }
  });
}

/// Of 64 tokens in pages of 8 on four ranks in turn, the last 17 lie on three pages.
TEST(DecodeAttentionTest, OwnersWithoutAColumnInTheWindowHearNothing) {
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

TEST(DecodeAttentionTest, OneRankSendsNothing) {
  const Batch batch = random_batch(1, {30, 64}, 6);
  const std::vector<RandomSequence> sequences = sequences_of(batch);
  test::run_ranks(1, [&](Communicator& communicator) {
    test::CountingCommunicator counted(communicator);
    decode(batch, sequences, counted);
    EXPECT_EQ(counted.traffic().sent_messages, 0u);
  });
}

}  // namespace
}  // namespace longspan
