// Products with shares of the weights on ranks as threads, against the products with all of them.
#include "runtime/model/sliced_products.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "tests/runtime/model/packed_matrix.h"
#include "tests/runtime/model/random_values.h"
#include "tests/support/delaying_communicator.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

/// Three units of 64 for qkv and hidden, five for the MLP, eight for the vocabulary, some ragged;
/// six heads.
ModelConfig small_config() {
  ModelConfig config;
  config.hidden = 160;
  config.ffn = 300;
  config.heads = {.query_heads = 6, .kv_heads = 2, .head_dim = 16};
  config.vocabulary = 450;
  return config;
}

/// So small that products are near 1.
test::Packed packed(ModelOps& ops, int outputs, int inputs, std::uint32_t seed) {
  const float most = 1 / std::sqrt(static_cast<float>(inputs));
  return {ops, outputs, inputs, test::random_values(1ULL * outputs * inputs, seed, -most, most)};
}

class SlicedProductsTest : public testing::Test {
 protected:
  /// One rank's part of everything, `rounds` times over the same buffers.
  struct Result {
    std::vector<float> qkv, projected, mlp, logits;
    Traffic traffic;
  };

  const ModelConfig config_ = small_config();
  const std::unique_ptr<ModelOps> ops_ = new_cpu_model_ops();
  const int qkv_width_ = config_.q_width() + 2 * config_.kv_width();
  const test::Packed qkv_ = packed(*ops_, qkv_width_, config_.hidden, 1);
  const test::Packed output_ = packed(*ops_, config_.hidden, config_.q_width(), 2);
  const test::Packed gate_up_ = packed(*ops_, 2 * config_.ffn, config_.hidden, 3);
  const test::Packed down_ = packed(*ops_, config_.hidden, config_.ffn, 4);
  const test::Packed vocabulary_ = packed(*ops_, config_.vocabulary, config_.hidden, 5);

  const std::vector<float> before_attention_ = test::random_values(config_.hidden, 10);
  const std::vector<float> before_mlp_ = test::random_values(config_.hidden, 11);

  LayerWeights layer() const {
    return {.attention_norm = {before_attention_.data(), config_.hidden, 1e-5f},
            .qkv = qkv_.matrix(),
            .attention_output = output_.matrix(),
            .ffn_norm = {before_mlp_.data(), config_.hidden, 1e-5f},
            .gate_up = gate_up_.matrix(),
            .down = down_.matrix()};
  }

  std::vector<float> x(std::int64_t rows) const {
    return test::random_values(rows * config_.hidden, 6);
  }
  /// The heads of all rows, as attention would leave them on one rank.
  std::vector<float> mixed(std::int64_t rows) const {
    return test::random_values(rows * config_.q_width(), 7);
  }
  static std::vector<int> masters(std::int64_t rows, int ranks) {
    std::vector<int> list(rows);
    for (std::int64_t row = 0; row < rows; ++row) list[row] = static_cast<int>(row * 2 % ranks);
    return list;
  }

  /// By one rank with all weights.
  Result whole(std::int64_t rows) const {
    Result result = sized(rows);
    CpuStream stream(1);
    const auto in = x(rows), heads = mixed(rows);
    std::vector<float> normed(in.size());
    std::vector<float> gate_up(rows * 2 * config_.ffn), active(rows * config_.ffn);
    const LayerWeights w = layer();
    ops_->rms_norm(stream, in.data(), rows, w.attention_norm, normed.data());
    ops_->matmul(stream, normed.data(), rows, w.qkv, result.qkv.data(), Output::kOverwrite);
    ops_->matmul(stream, heads.data(), rows, w.attention_output, result.projected.data(),
                 Output::kAccumulate);
    ops_->rms_norm(stream, in.data(), rows, w.ffn_norm, normed.data());
    ops_->matmul(stream, normed.data(), rows, w.gate_up, gate_up.data(), Output::kOverwrite);
    ops_->glu(stream, gate_up.data(), rows, config_.ffn, config_.activation, active.data());
    ops_->matmul(stream, active.data(), rows, w.down, result.mlp.data(), Output::kAccumulate);
    ops_->matmul(stream, in.data(), rows, vocabulary_.matrix(), result.logits.data(),
                 Output::kOverwrite);
    stream.synchronize();
    return result;
  }

  Result sliced(Communicator& communicator, std::int64_t rows, int rounds = 1) const {
    CpuDevice device(1);
    std::vector<int> everyone(communicator.size());
    std::iota(everyone.begin(), everyone.end(), 0);
    const Group group(communicator, everyone);
    SlicedProducts products(device, config_, *ops_,
                            {.rows = rows, .logit_rows = rows, .ranks = group.size()});
    const Slice heads = even_slice(config_.heads.query_heads, 1, group.rank(), group.size());
    const auto in = x(rows), own = columns(mixed(rows), rows, heads);
    std::vector<float> normed(in.size());
    Result result = sized(rows);
    CpuStream stream(1);
    for (int round = 0; round < rounds; ++round) {
      products.qkv(stream, group, in.data(), rows, layer(), normed.data(), result.qkv.data());
      products.attention_output(stream, group, own.data(), heads, rows, output_.matrix(),
                                result.projected.data());
      products.mlp(stream, group, in.data(), rows, layer(), normed.data(), result.mlp.data());
      products.logits(stream, group, in.data(), rows, masters(rows, group.size()),
                      vocabulary_.matrix(), result.logits.data());
    }
    stream.synchronize();
    result.traffic = communicator.traffic();
    return result;
  }

  void expect_close(const std::vector<float>& values, const std::vector<float>& expected,
                    const char* what) const {
    ASSERT_EQ(values.size(), expected.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(values[i], expected[i], 1e-5) << what << " at " << i;
    }
  }

  /// Of the rows this rank masters; the others hold what they held.
  void expect_logits(const Result& result, const Result& expected, int rank, int ranks) const {
    const std::vector<int> owners = masters(result.logits.size() / config_.vocabulary, ranks);
    for (std::size_t row = 0; row < owners.size(); ++row) {
      for (int i = 0; i < config_.vocabulary; ++i) {
        const float value = result.logits[row * config_.vocabulary + i];
        if (owners[row] != rank) {
          ASSERT_TRUE(std::isnan(value));
        } else {
          ASSERT_NEAR(value, expected.logits[row * config_.vocabulary + i], 1e-5);
        }
      }
    }
  }

 private:
  Result sized(std::int64_t rows) const {
    Result result;
    result.qkv.assign(rows * qkv_width_, NAN);
    result.projected = test::random_values(rows * config_.hidden, 8);  // the residual
    result.mlp = test::random_values(rows * config_.hidden, 9);
    result.logits.assign(rows * config_.vocabulary, NAN);
    return result;
  }

  std::vector<float> columns(const std::vector<float>& all, std::int64_t rows,
                             const Slice& heads) const {
    const int dim = config_.heads.head_dim;
    std::vector<float> out;
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* from = all.data() + row * config_.q_width() + heads.first * dim;
      out.insert(out.end(), from, from + heads.count * dim);
    }
    return out;
  }
};

/// Eight ranks are more than there are heads, units of the MLP, or units of qkv.
TEST_F(SlicedProductsTest, EqualTheProductsWithAllWeightsAndAreTheSameBitsOnEveryRank) {
  for (int ranks : {2, 3, 5, 8}) {
    for (std::int64_t rows : {1, 2, 7, 20}) {
      const Result expected = whole(rows);
      std::vector<Result> results(ranks);
      test::run_ranks(ranks, [&](Communicator& communicator) {
        results[communicator.rank()] = sliced(communicator, rows);
      });
      for (int rank = 0; rank < ranks; ++rank) {
        expect_close(results[rank].qkv, expected.qkv, "qkv");
        expect_close(results[rank].projected, expected.projected, "attention output");
        expect_close(results[rank].mlp, expected.mlp, "mlp");
        expect_logits(results[rank], expected, rank, ranks);
        EXPECT_EQ(results[rank].qkv, results[0].qkv);
        EXPECT_EQ(results[rank].projected, results[0].projected);
        EXPECT_EQ(results[rank].mlp, results[0].mlp);
      }
    }
  }
}

TEST_F(SlicedProductsTest, SendExactlyWhatTheirFormulaSays) {
  for (int ranks : {2, 3, 5, 8}) {
    for (std::int64_t rows : {1, 7}) {
      test::run_ranks(ranks, [&](Communicator& communicator) {
        const int rank = communicator.rank();
        const Traffic traffic = sliced(communicator, rows).traffic;
        const Sent layer = SlicedProducts::layer_sent(config_, rank, ranks, rows);
        const Sent logits = SlicedProducts::logits_sent(config_, rank, ranks, masters(rows, ranks));
        EXPECT_EQ(traffic.sent_bytes, static_cast<std::uint64_t>(layer.bytes + logits.bytes));
        EXPECT_EQ(traffic.sent_messages,
                  static_cast<std::uint64_t>(layer.messages + logits.messages));
      });
    }
  }
}

TEST_F(SlicedProductsTest, LateMessagesChangeNoBit) {
  constexpr int kRanks = 3, kRows = 2, kRounds = 3;
  std::vector<Result> punctual(kRanks);
  test::run_ranks(kRanks, [&](Communicator& communicator) {
    punctual[communicator.rank()] = sliced(communicator, kRows, kRounds);
  });
  for (unsigned seed = 0; seed < 4; ++seed) {
    test::run_ranks(kRanks, [&](Communicator& communicator) {
      test::DelayingCommunicator late(communicator, seed);
      const Result result = sliced(late, kRows, kRounds);
      const Result& expected = punctual[communicator.rank()];
      EXPECT_EQ(result.qkv, expected.qkv);
      EXPECT_EQ(result.projected, expected.projected);
      EXPECT_EQ(result.mlp, expected.mlp);
    });
  }
}

}  // namespace
}  // namespace longspan
