#include "runtime/model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>

#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/rope.h"
#include "tests/runtime/model/random_values.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// A matrix (rows, columns) in the open.
struct Plain {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<float> values;

  std::vector<float> row(std::int64_t index) const {
    return {values.begin() + index * columns, values.begin() + (index + 1) * columns};
  }
  void append(const std::vector<float>& new_row) {
    values.insert(values.end(), new_row.begin(), new_row.end());
    columns = std::ssize(new_row);
    ++rows;
  }
  void append(const Plain& other) {
    for (std::int64_t i = 0; i < other.rows; ++i) append(other.row(i));
  }
};

class WeightsTest : public testing::Test {
 protected:
  GgufFile write(const test::GgufWriter& writer) {
    const auto path = directory_ / "model.gguf";
    writer.write(path);
    return GgufFile(path);
  }

  ModelWeights load(const GgufFile& file, int threads = 2) {
    return ModelWeights::load(file, read_model_config(file), *ops_, {}, {.threads = threads});
  }

  /// As the file holds it.
  static Plain tensor(const GgufFile& file, const std::string& name) {
    const TensorInfo& info = *file.find(name);
    std::vector<std::byte> raw(info.bytes);
    file.read(info, raw);
    Plain plain{info.shape.front(), info.shape.size() > 1 ? info.shape[1] : 1, {}};
    plain.values.resize(plain.rows * plain.columns);
    dequantize(info.type, raw, plain.values);
    return plain;
  }

  /// Rows in the order of half-split RoPE. The file's converter wrote, per head,
  ///   rows.reshape(2, head_dim / 2, inputs).swapaxes(0, 1)
  static Plain unpermuted(const Plain& rows, int head_dim) {
    Plain out;
    for (std::int64_t head = 0; head < rows.rows; head += head_dim) {
      for (int part = 0; part < 2; ++part) {
        for (int i = 0; i < head_dim / 2; ++i) out.append(rows.row(head + 2 * i + part));
      }
    }
    return out;
  }

  /// x w^T by the operations under test.
  std::vector<float> times(const std::vector<float>& x, std::int64_t rows, const PackedMatrix& w) {
    std::vector<float> out(rows * w.layout->outputs(), NAN);
    ops_->matmul(stream_, x.data(), rows, w, out.data(), Output::kOverwrite);
    stream_.synchronize();
    return out;
  }

  /// Exact: ones and zeros pick the values of the matrix.
  void expect_holds(const PackedMatrix& packed, const Plain& expected, const std::string& what) {
    ASSERT_EQ(packed.layout->outputs(), expected.rows) << what;
    ASSERT_EQ(packed.layout->inputs(), expected.columns) << what;
    std::vector<float> unit(expected.columns * expected.columns);
    for (std::int64_t i = 0; i < expected.columns; ++i) unit[i * expected.columns + i] = 1;
    const std::vector<float> found = times(unit, expected.columns, packed);
    for (std::int64_t row = 0; row < expected.rows; ++row) {
      for (std::int64_t i = 0; i < expected.columns; ++i) {
        ASSERT_EQ(found[i * expected.rows + row], expected.values[row * expected.columns + i])
            << what << " row " << row << " column " << i;
      }
    }
  }

  static void expect_holds(const NormWeight& norm, const Plain& expected) {
    ASSERT_EQ(norm.hidden, expected.rows);
    for (int i = 0; i < norm.hidden; ++i) EXPECT_EQ(norm.weight[i], expected.values[i]);
  }

  void expect_layer(const LayerWeights& layer, const GgufFile& file, int index, int head_dim) {
    const auto part = [&](std::string_view name) {
      return tensor(file, str("blk.{}.{}.weight", index, name));
    };
    Plain qkv = unpermuted(part("attn_q"), head_dim);
    qkv.append(unpermuted(part("attn_k"), head_dim));
    qkv.append(part("attn_v"));
    Plain gate_up = part("ffn_gate");
    gate_up.append(part("ffn_up"));
    expect_holds(layer.qkv, qkv, "qkv");
    expect_holds(layer.attention_output, part("attn_output"), "attention output");
    expect_holds(layer.gate_up, gate_up, "gate and up");
    expect_holds(layer.down, part("ffn_down"), "down");
    expect_holds(layer.attention_norm, part("attn_norm"));
    expect_holds(layer.ffn_norm, part("ffn_norm"));
  }

  void expect_all(const ModelWeights& weights, const GgufFile& file) {
    const ModelConfig config = read_model_config(file);
    for (int i = 0; i < config.layers; ++i) {
      expect_layer(weights.layer(i), file, i, config.heads.head_dim);
    }
    expect_holds(weights.output_norm(), tensor(file, "output_norm.weight"));
    expect_holds(weights.output(),
                 tensor(file, config.tied_output ? "token_embd.weight" : "output.weight"),
                 "output");
    const TensorInfo& embedding = *file.find("token_embd.weight");
    std::vector<std::byte> raw(embedding.bytes);
    file.read(embedding, raw);
    EXPECT_EQ(weights.embedding().type, embedding.type);
    EXPECT_TRUE(std::ranges::equal(weights.embedding().table, raw));
  }

  test::TemporaryDirectory directory_;
  std::unique_ptr<ModelOps> ops_ = new_cpu_model_ops();
  CpuStream stream_{1};
};

TEST_F(WeightsTest, HoldEveryValueOfTheFile) {
  for (bool tied : {false, true}) {
    const GgufFile file = write(test::TinyLlama{.tied_output = tied}.writer());
    expect_all(load(file), file);
  }
}

TEST_F(WeightsTest, HoldQuantisedValuesDequantised) {
  const GgufFile file = write(test::TinyLlama{
      .vocabulary = 1500,  // two panels
      .tied_output = true,
      .type = [](std::string_view name) {
        if (name.starts_with("token")) return TensorType::kQ8_0;
        return name.find("ffn") == name.npos ? TensorType::kQ4_1 : TensorType::kBF16;
      }}.writer());
  expect_all(load(file), file);
}

TEST_F(WeightsTest, HoldValuesOfBlocksOf256) {
  const GgufFile file = write(test::TinyLlama{
      .layers = 1,
      .hidden = 256,
      .ffn = 512,
      .tied_output = true,
      .type = [](std::string_view name) {
        if (name.starts_with("token")) return TensorType::kQ6_K;
        if (name.find("ffn_down") != name.npos) return TensorType::kQ5_K;
        if (name.find("ffn") != name.npos) return TensorType::kQ4_K;
        return name.find("attn_output") == name.npos ? TensorType::kQ5_1 : TensorType::kQ5_0;
      }}.writer());
  expect_all(load(file), file);
}

TEST_F(WeightsTest, APanelMayEndInsideAHead) {
  // 800 + 2 x 160 rows in panels of 768, heads of 80: the border is inside the last query head.
  const GgufFile file =
      write(test::TinyLlama{.layers = 1, .hidden = 32, .heads = 10, .kv_heads = 2, .head_dim = 80}
                .writer());
  expect_all(load(file, 3), file);
}

TEST_F(WeightsTest, HalfSplitRopeOnThemIsInterleavedRopeOnTheFile) {
  constexpr int kHidden = 64, kDim = 16, kHeads = 4, kPosition = 1234;
  const GgufFile file = write(test::TinyLlama{}.writer());
  const ModelWeights weights = load(file);
  const auto x = test::random_values(kHidden, 9);
  std::vector<float> angles(kDim);
  RopeTable(1e4, kDim).angles(std::vector<std::int64_t>{kPosition}, angles);

  // Ours: project, then rotate.
  const std::vector<float> qkv = times(x, 1, weights.layer(0).qkv);
  std::vector<float> ours(kHeads * kDim);
  ops_->rope_and_store(stream_, {qkv.data(), angles.data(), 1, {kHeads, 2, kDim}}, ours.data(), {});
  stream_.synchronize();

  // The file's: neighbours 2i and 2i + 1 turn together.
  const Plain rows = tensor(file, "blk.0.attn_q.weight");
  const auto projected = [&](std::int64_t row) {
    return std::inner_product(x.begin(), x.end(), rows.values.begin() + row * kHidden, 0.0);
  };
  for (int head = 0; head < kHeads; ++head) {
    for (int i = 0; i < kDim / 2; ++i) {
      const double even = projected(head * kDim + 2 * i), odd = projected(head * kDim + 2 * i + 1);
      const double cosine = angles[i], sine = angles[kDim / 2 + i];
      const float* found = ours.data() + head * kDim;
      EXPECT_NEAR(found[i], even * cosine - odd * sine, 1e-5);
      EXPECT_NEAR(found[kDim / 2 + i], odd * cosine + even * sine, 1e-5);
    }
  }
}

TEST_F(WeightsTest, ProgressGoesUpToTheWholeFile) {
  const GgufFile file = write(test::TinyLlama{}.writer());
  std::uint64_t last = 0, whole = 0;
  const auto progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GT(done, last);
    last = done;
    whole = total;
  };
  const ModelWeights weights = ModelWeights::load(file, read_model_config(file), *ops_, {},
                                                  {.threads = 3, .progress = progress});
  EXPECT_EQ(last, whole);
  EXPECT_EQ(weights.report().file_bytes, whole);
  EXPECT_GT(weights.report().gigabytes_per_second(), 0);
  EXPECT_FALSE(weights.report().shared);
}

TEST_F(WeightsTest, AValueThatIsNotFiniteIsRefusedByTheNameOfItsTensor) {
  for (const std::string name :
       {"blk.1.attn_norm.weight", "output_norm.weight", "blk.0.attn_k.weight",
        "blk.1.ffn_up.weight", "token_embd.weight", "output.weight"}) {
    test::GgufWriter writer = test::TinyLlama{}.writer();
    auto& data = writer.tensor(name).data;
    const float bad = name.ends_with("norm.weight") ? INFINITY : NAN;
    std::memcpy(data.data() + data.size() - sizeof(bad), &bad, sizeof(bad));
    const GgufFile file = write(writer);
    EXPECT_THAT([&] { load(file); },
                ThrowsMessage<DataError>(AllOf(HasSubstr("model.gguf"), HasSubstr(name))));
  }
}

TEST_F(WeightsTest, AScaleThatIsNotFiniteIsRefusedToo) {
  test::GgufWriter writer =
      test::TinyLlama{.type = [](std::string_view) { return TensorType::kQ4_1; }}.writer();
  const std::uint16_t nan = 0x7e00;
  std::memcpy(writer.tensor("blk.0.ffn_down.weight").data.data(), &nan, sizeof(nan));
  const GgufFile file = write(writer);
  EXPECT_THAT([&] { load(file); }, ThrowsMessage<DataError>(HasSubstr("blk.0.ffn_down.weight")));
}

HostRanks everyone(Communicator& control) {
  std::vector<int> ranks(control.size());
  std::iota(ranks.begin(), ranks.end(), 0);
  return {control, ranks};
}

TEST_F(WeightsTest, RanksOfAHostShareWhatTheLeaderLoaded) {
  const GgufFile file = write(test::TinyLlama{}.writer());
  const ModelConfig config = read_model_config(file);
  for (int ranks : {1, 2, 3, 5}) {
    test::run_ranks(ranks, [&](Communicator& control) {
      const ModelWeights weights =
          ModelWeights::load(file, config, *ops_, everyone(control), {.threads = 2});
      EXPECT_EQ(weights.report().shared, ranks > 1);
      EXPECT_EQ(weights.report().file_bytes > 0, control.rank() == 0);
      CpuStream stream(1);
      const auto x = test::random_values(config.hidden, 1);
      std::vector<float> out(config.vocabulary);
      ops_->matmul(stream, x.data(), 1, weights.output(), out.data(), Output::kOverwrite);
      stream.synchronize();
      const Plain expected = tensor(file, "output.weight");
      for (int i = 0; i < config.vocabulary; ++i) {
        EXPECT_NEAR(out[i],
                    std::inner_product(x.begin(), x.end(),
                                       expected.values.begin() + i * config.hidden, 0.0),
                    1e-5);
      }
    });
  }
}

TEST_F(WeightsTest, EachHostHasALeaderOfItsOwn) {
  const GgufFile file = write(test::TinyLlama{}.writer());
  test::run_ranks(5, [&](Communicator& control) {
    const bool first_host = control.rank() % 2 == 0;
    const HostRanks host(control, first_host ? std::vector{0, 2, 4} : std::vector{1, 3});
    const ModelWeights weights =
        ModelWeights::load(file, read_model_config(file), *ops_, host, {.threads = 1});
    EXPECT_TRUE(weights.report().shared);
    EXPECT_EQ(weights.report().file_bytes > 0, control.rank() < 2);
  });
}

TEST_F(WeightsTest, ADamagedTensorFailsEveryRankOfTheHost) {
  test::GgufWriter writer = test::TinyLlama{}.writer();
  const float nan = NAN;
  std::memcpy(writer.tensor("blk.1.attn_v.weight").data.data(), &nan, sizeof(nan));
  const GgufFile file = write(writer);
  test::run_ranks(3, [&](Communicator& control) {
    try {
      ModelWeights::load(file, read_model_config(file), *ops_, everyone(control), {.threads = 2});
      ADD_FAILURE() << "nothing was thrown on rank " << control.rank();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      EXPECT_THAT(error.what(), HasSubstr("blk.1.attn_v.weight"));
    }
  });
}

}  // namespace
}  // namespace longspan
