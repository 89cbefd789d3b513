// Weights for devices that are not the host's CPU: kept in types they read, and copied to them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "runtime/model/cpu/vector_kernels.h"
#include "runtime/model/weights.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"

namespace longspan {
namespace {

/// The CPU's layouts, with the table as `type`. It computes nothing.
class TableAs final : public ModelOps {
 public:
  explicit TableAs(TensorType type) : type_(type) {}

  std::string description() const override { return "layouts"; }
  std::unique_ptr<MatrixLayout> new_matrix_layout(int outputs, int inputs) const override {
    return cpu_->new_matrix_layout(outputs, inputs);
  }
  TensorType embedding_type(TensorType) const override { return type_; }

  void embed(Stream&, const Embedding&, std::vector<TokenId>, float*) override { refuse(); }
  void rms_norm(Stream&, const float*, std::int64_t, const NormWeight&, float*) override {
    refuse();
  }
  void matmul_slice(Stream&, const float*, std::int64_t, const MatrixSlice&, float*,
                    Output) override {
    refuse();
  }
  void add_sum(Stream&, std::vector<const float*>, std::int64_t, float*) override { refuse(); }
  void rope_angles(Stream&, const RopeTable&, std::vector<std::int64_t>, float*) override {
    refuse();
  }
  void rope_and_store(Stream&, const QkvRows&, float*, std::vector<KvTarget>) override { refuse(); }
  void glu(Stream&, const float*, std::int64_t, int, Activation, float*) override { refuse(); }
  void clear(Stream&, float*, std::int64_t) override { refuse(); }
  void gather_rows(Stream&, const float*, int, std::vector<std::int64_t>, float*) override {
    refuse();
  }

 private:
  [[noreturn]] static void refuse() { throw std::logic_error("it computes nothing"); }

  TensorType type_;
  std::unique_ptr<ModelOps> cpu_ = new_cpu_model_ops();
};

class DeviceWeightsTest : public testing::TestWithParam<bool> {
 protected:
  DeviceWeightsTest() {
    test::TinyLlama model;
    model.vocabulary = 2100;  // rows of several panels
    model.tied_output = GetParam();
    model.type = [](std::string_view tensor) {
      return tensor == "token_embd.weight" ? TensorType::kQ8_0 : TensorType::kF32;
    };
    model.write(path_);
  }

  ModelWeights load(const ModelOps& ops, Device* device) {
    const GgufFile file(path_);
    return ModelWeights::load(file, read_model_config(file), ops, {},
                              {.threads = 2, .device = device});
  }

  /// Of the file's table.
  std::vector<float> values() {
    const GgufFile file(path_);
    const TensorInfo& info = *file.find("token_embd.weight");
    std::vector<std::byte> raw(info.bytes);
    file.read(info, raw);
    std::vector<float> values(info.shape[0] * info.shape[1]);
    dequantize(info.type, raw, values);
    return values;
  }

  static void expect_table(const Embedding& found, ConstBytes expected) {
    EXPECT_TRUE(std::ranges::equal(found.table, expected));
  }

  test::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "model.gguf";
};

TEST_P(DeviceWeightsTest, TheTableIsConvertedToFloat32) {
  const ModelWeights weights = load(TableAs(TensorType::kF32), nullptr);
  EXPECT_EQ(weights.embedding().type, TensorType::kF32);
  const std::vector<float> exact = values();
  expect_table(weights.embedding(), std::as_bytes(std::span(exact)));
}

TEST_P(DeviceWeightsTest, TheTableIsRoundedToBfloat16) {
  const ModelWeights weights = load(TableAs(TensorType::kBF16), nullptr);
  const std::vector<float> exact = values();
  std::vector<std::uint16_t> rounded(exact.size());
  narrow_row(exact.data(), std::ssize(exact), rounded.data());
  EXPECT_EQ(weights.embedding().type, TensorType::kBF16);
  expect_table(weights.embedding(), std::as_bytes(std::span(rounded)));
}

TEST_P(DeviceWeightsTest, ADeviceGetsACopyOfEverything) {
  const TableAs ops(TensorType::kF32);
  CpuDevice device(1);
  const ModelWeights on_host = load(ops, nullptr), copied = load(ops, &device);
  expect_table(copied.embedding(), on_host.embedding().table);
  const auto same = [](const PackedMatrix& a, const PackedMatrix& b) {
    return a.data != b.data && std::memcmp(a.data, b.data, a.layout->bytes()) == 0;
  };
  EXPECT_TRUE(same(copied.output(), on_host.output()));
  for (int i = 0; i < 2; ++i) {
    const LayerWeights &a = copied.layer(i), &b = on_host.layer(i);
    EXPECT_TRUE(same(a.qkv, b.qkv) && same(a.attention_output, b.attention_output) &&
                same(a.gate_up, b.gate_up) && same(a.down, b.down));
    EXPECT_TRUE(
        std::equal(a.ffn_norm.weight, a.ffn_norm.weight + a.ffn_norm.hidden, b.ffn_norm.weight));
  }
}

TEST_P(DeviceWeightsTest, MadeUpWeightsAreSmallNumbersAndNormsAreOnes) {
  const GgufFile file(path_);
  const ModelConfig config = read_model_config(file);
  CpuDevice device(1);
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    const auto ops = new_cpu_model_ops(precision);
    const ModelWeights weights = ModelWeights::made_up(config, *ops, device, {});
    for (const NormWeight& norm :
         {weights.layer(0).attention_norm, weights.layer(1).ffn_norm, weights.output_norm()}) {
      EXPECT_TRUE(std::all_of(norm.weight, norm.weight + norm.hidden,
                              [](float value) { return value == 1.0f; }));
    }
    const Embedding& table = weights.embedding();
    std::vector<float> values(std::int64_t{table.vocabulary} * table.hidden);
    dequantize(table.type, table.table, values);
    const auto [least, most] = std::ranges::minmax(values);
    EXPECT_LT(-0.031, least);
    EXPECT_LT(least, -0.02);
    EXPECT_LT(0.02, most);
    EXPECT_LT(most, 0.031);
    // And what is multiplied by them is a number.
    std::vector<float> x(config.hidden, 1.0f), out(config.vocabulary);
    CpuStream stream(1);
    ops->matmul(stream, x.data(), 1, weights.output(), out.data(), Output::kOverwrite);
    stream.synchronize();
    EXPECT_TRUE(all_finite(out.data(), std::ssize(out)));
    EXPECT_NE(out[0], out[1]);
  }
}

INSTANTIATE_TEST_SUITE_P(OutputIs, DeviceWeightsTest, testing::Bool(),
                         [](const auto& output) { return output.param ? "TheTable" : "ItsOwn"; });

}  // namespace
}  // namespace longspan
