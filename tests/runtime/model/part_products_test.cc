// Products with the parts of an instance's ranks, on ranks as threads, against the whole matrices.
#include "runtime/model/part_products.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "runtime/model/model_part.h"
#include "tests/runtime/model/packed_matrix.h"
#include "tests/runtime/model/random_values.h"
#include "tests/support/counting_communicator.h"
#include "tests/support/delaying_communicator.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

/// Twelve heads, for any number of ranks up to six; widths that nothing divides.
ModelConfig whole_model() {
  ModelConfig config;
  config.hidden = 160;
  config.ffn = 301;
  config.heads = {.query_heads = 12, .kv_heads = 1, .head_dim = 8};
  config.vocabulary = 451;
  return config;
}

/// More rows than go to everybody at once.
constexpr std::int64_t kManyRows = PartProducts::kFewValues / 160 + 1;

class PartProductsTest : public testing::Test {
 protected:
  /// What a rank has after `rounds` products on the same buffers.
  struct Result {
    std::vector<float> hidden, logits;
  };

  const ModelConfig whole_ = whole_model();
  const std::unique_ptr<ModelOps> ops_ = new_cpu_model_ops();
  const std::vector<float> down_ = random(whole_.hidden, whole_.ffn, 1);
  const std::vector<float> output_ = random(whole_.vocabulary, whole_.hidden, 2);

  /// So small that products are near 1.
  static std::vector<float> random(int outputs, int inputs, std::uint32_t seed) {
    const float most = 1 / std::sqrt(static_cast<float>(inputs));
    return test::random_values(1ULL * outputs * inputs, seed, -most, most);
  }

  std::vector<float> residual(std::int64_t rows) const {
    return test::random_values(rows * whole_.hidden, 3);
  }
  std::vector<float> active(std::int64_t rows) const {
    return test::random_values(rows * whole_.ffn, 4);
  }

  /// Columns `slice` of (rows, width).
  static std::vector<float> columns(const std::vector<float>& all, int width, const Slice& slice) {
    std::vector<float> out;
    for (std::size_t at = slice.first; at < all.size(); at += width) {
      out.insert(out.end(), all.begin() + at, all.begin() + at + slice.count);
    }
    return out;
  }

  /// Row by row in double.
  static std::vector<double> product(const std::vector<float>& x, const std::vector<float>& w,
                                     int inputs) {
    std::vector<double> out;
    for (auto row = x.begin(); row != x.end(); row += inputs) {
      for (auto of_output = w.begin(); of_output != w.end(); of_output += inputs) {
        out.push_back(std::inner_product(row, row + inputs, of_output, 0.0));
      }
    }
    return out;
  }

  /// hidden += active down^T, `rounds` times, and the logits of the residual it began with.
  Result on_rank(Communicator& communicator, std::int64_t rows, int rounds = 1) const {
    const ModelPart part{.index = communicator.rank(), .ranks = communicator.size()};
    const ModelConfig config = part_of(whole_, part);
    const PartSlices own = slices_of(whole_, part);
    CpuDevice device(1);
    std::vector<int> everyone(communicator.size());
    std::iota(everyone.begin(), everyone.end(), 0);
    PartProducts products(device, config, *ops_, Group(communicator, everyone),
                          {.rows = rows, .logit_rows = rows});
    const test::Packed down(*ops_, config.hidden, config.ffn, columns(down_, whole_.ffn, own.ffn));
    const auto first = output_.begin() + own.vocabulary.first * whole_.hidden;
    const test::Packed output(*ops_, own.vocabulary.count, config.hidden,
                              {first, first + own.vocabulary.count * whole_.hidden});
    const auto x = columns(active(rows), whole_.ffn, own.ffn), y = residual(rows);
    Result result{.hidden = residual(rows), .logits = {}};
    if (part.index == 0) result.logits.assign(rows * whole_.vocabulary, NAN);
    CpuStream stream(1);
    for (int round = 0; round < rounds; ++round) {
      products.add_product(stream, x.data(), rows, down.matrix(), result.hidden.data());
      products.logits(stream, y.data(), rows, output.matrix(), result.logits.data());
    }
    stream.synchronize();
    return result;
  }

  std::vector<Result> on_ranks(int ranks, std::int64_t rows) const {
    std::vector<Result> results(ranks);
    test::run_ranks(ranks, [&](Communicator& communicator) {
      results[communicator.rank()] = on_rank(communicator, rows);
    });
    return results;
  }
};

TEST_F(PartProductsTest, EqualTheProductsWithTheWholeAndAreTheSameBitsOnEveryRank) {
  for (int ranks : {1, 2, 3, 6}) {
    for (std::int64_t rows : {std::int64_t{0}, std::int64_t{1}, std::int64_t{7}, kManyRows}) {
      const std::vector<Result> results = on_ranks(ranks, rows);
      const auto sum = product(active(rows), down_, whole_.ffn);
      const auto before = residual(rows);
      const auto logits = product(before, output_, whole_.hidden);
      for (std::size_t i = 0; i < sum.size(); ++i) {
        ASSERT_NEAR(results[0].hidden[i], before[i] + sum[i], 1e-5)
            << ranks << " ranks, " << rows << " rows";
      }
      for (std::size_t i = 0; i < logits.size(); ++i) {
        ASSERT_NEAR(results[0].logits[i], logits[i], 1e-5)
            << ranks << " ranks, " << rows << " rows";
      }
      for (const Result& other : results) EXPECT_EQ(other.hidden, results[0].hidden);
    }
  }
}

/// The first rows are summed in the other way when they come with more. What is left is the matrix
/// product's own rounding, which may depend on the rows beside.
TEST_F(PartProductsTest, ManyRowsGiveWhatFewGive) {
  constexpr std::int64_t kFewRows = PartProducts::kFewValues / 160;
  for (int ranks : {2, 3}) {
    const auto few = on_ranks(ranks, kFewRows), many = on_ranks(ranks, kManyRows);
    const auto begin = many[0].hidden.begin();
    for (std::size_t i = 0; i < few[0].hidden.size(); ++i) {
      ASSERT_NEAR(few[0].hidden[i], begin[i], 1e-6);
    }
  }
}

TEST_F(PartProductsTest, SendExactlyWhatTheirFormulaSays) {
  for (int ranks : {1, 2, 3, 6}) {
    for (std::int64_t rows : {std::int64_t{1}, std::int64_t{7}, kManyRows}) {
      test::run_ranks(ranks, [&](Communicator& communicator) {
        test::CountingCommunicator counting(communicator);
        on_rank(counting, rows);
        const ModelConfig config = part_of(whole_, {communicator.rank(), ranks});
        // Half a layer: one product of the two.
        const Sent layer = PartProducts::layer_sent(config, rows);
        const Sent logits = PartProducts::logits_sent(config, rows);
        const Traffic traffic = counting.traffic();
        EXPECT_EQ(traffic.sent_bytes, static_cast<std::uint64_t>(layer.bytes / 2 + logits.bytes));
        EXPECT_EQ(traffic.sent_messages,
                  static_cast<std::uint64_t>(layer.messages / 2 + logits.messages));
        const int exchanges = ranks == 1 ? 0 : (rows == kManyRows ? 2 : 1) + 1;
        EXPECT_EQ(counting.exchanges(), exchanges);
      });
    }
  }
}

TEST_F(PartProductsTest, ManyRowsSendEachValueTwiceAtMost) {
  const ModelConfig config = part_of(whole_, {0, 6});
  const Sent sent = PartProducts::layer_sent(config, kManyRows);
  EXPECT_LE(sent.bytes, 2 * 2 * kManyRows * config.hidden * 4);
}

TEST_F(PartProductsTest, LateMessagesChangeNoBit) {
  constexpr int kRanks = 3, kRounds = 3;
  for (std::int64_t rows : {std::int64_t{2}, kManyRows}) {
    std::vector<Result> punctual(kRanks);
    test::run_ranks(kRanks, [&](Communicator& communicator) {
      punctual[communicator.rank()] = on_rank(communicator, rows, kRounds);
    });
    for (unsigned seed = 0; seed < 3; ++seed) {
      test::run_ranks(kRanks, [&](Communicator& communicator) {
        test::DelayingCommunicator late(communicator, seed);
        const Result result = on_rank(late, rows, kRounds);
        EXPECT_EQ(result.hidden, punctual[communicator.rank()].hidden);
        EXPECT_EQ(result.logits, punctual[communicator.rank()].logits);
      });
    }
  }
}

}  // namespace
}  // namespace longspan
