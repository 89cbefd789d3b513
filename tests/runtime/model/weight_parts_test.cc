// What a rank of an instance loads is its slice of what one rank alone loads (weights_test.cc says
// that this is what the file holds).
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "comm/str.h"
#include "runtime/model/model_part.h"
#include "runtime/model/weights.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

/// A matrix (rows, columns) in the open.
struct Plain {
  int rows = 0;
  int columns = 0;
  std::vector<float> values;

  bool operator==(const Plain&) const = default;

  Plain with_rows(const std::vector<Slice>& slices) const {
    Plain out{.columns = columns};
    for (const Slice& slice : slices) {
      const auto first = values.begin() + 1LL * slice.first * columns;
      out.values.insert(out.values.end(), first, first + 1LL * slice.count * columns);
      out.rows += slice.count;
    }
    return out;
  }
  Plain with_columns(const Slice& slice) const {
    Plain out{.rows = rows, .columns = slice.count};
    for (int row = 0; row < rows; ++row) {
      const auto first = values.begin() + 1LL * row * columns + slice.first;
      out.values.insert(out.values.end(), first, first + slice.count);
    }
    return out;
  }
};

class WeightPartsTest : public testing::Test {
 protected:
  GgufFile write(const test::TinyLlama& model) {
    const auto path = directory_ / "model.gguf";
    model.write(path);
    return GgufFile(path);
  }

  ModelWeights load(const GgufFile& file, const ModelPart& part, const HostRanks& host = {}) {
    return ModelWeights::load(file, read_model_config(file), *ops_, host,
                              {.threads = 2, .part = part});
  }

  /// Exact: ones and zeros pick the values of the matrix.
  Plain plain(const PackedMatrix& packed) {
    const int outputs = packed.layout->outputs(), inputs = packed.layout->inputs();
    std::vector<float> unit(1LL * inputs * inputs), picked(1LL * inputs * outputs);
    for (int i = 0; i < inputs; ++i) unit[1LL * i * inputs + i] = 1;
    CpuStream stream(1);
    ops_->matmul(stream, unit.data(), inputs, packed, picked.data(), Output::kOverwrite);
    stream.synchronize();
    Plain out{outputs, inputs, std::vector<float>(1LL * outputs * inputs)};
    for (int row = 0; row < outputs; ++row) {
      for (int i = 0; i < inputs; ++i) {
        out.values[1LL * row * inputs + i] = picked[1LL * i * outputs + row];
      }
    }
    return out;
  }

  void expect_part(const ModelWeights& part, const ModelWeights& whole, const ModelConfig& config,
                   const PartSlices& own) {
    const int dim = config.heads.head_dim;
    const auto heads = [dim](const Slice& s, int before = 0) {
      return Slice{(before + s.first) * dim, s.count * dim};
    };
    const int q = config.heads.query_heads, kv = config.heads.kv_heads;
    const std::vector<Slice> qkv{heads(own.query_heads), heads(own.kv_heads, q),
                                 heads(own.kv_heads, q + kv)};
    const Slice up{config.ffn + own.ffn.first, own.ffn.count};
    for (int i = 0; i < config.layers; ++i) {
      const LayerWeights &mine = part.layer(i), &all = whole.layer(i);
      EXPECT_EQ(plain(mine.qkv), plain(all.qkv).with_rows(qkv));
      EXPECT_EQ(plain(mine.attention_output),
                plain(all.attention_output).with_columns(heads(own.query_heads)));
      EXPECT_EQ(plain(mine.gate_up), plain(all.gate_up).with_rows({own.ffn, up}));
      EXPECT_EQ(plain(mine.down), plain(all.down).with_columns(own.ffn));
      EXPECT_TRUE(std::equal(mine.ffn_norm.weight, mine.ffn_norm.weight + config.hidden,
                             all.ffn_norm.weight));
    }
    EXPECT_EQ(plain(part.output()), plain(whole.output()).with_rows({own.vocabulary}));
    EXPECT_TRUE(std::ranges::equal(part.embedding().table, whole.embedding().table));
  }

  void expect_parts(const test::TinyLlama& model) {
    const GgufFile file = write(model);
    const ModelConfig config = read_model_config(file);
    const ModelWeights whole = load(file, {});
    for (int ranks : usable_part_counts(config)) {
      for (int rank = 0; rank < ranks; ++rank) {
        SCOPED_TRACE(str("part {} of {}", rank, ranks));
        const ModelPart part{rank, ranks};
        expect_part(load(file, part), whole, config, slices_of(config, part));
      }
    }
  }

  test::TemporaryDirectory directory_;
  std::unique_ptr<ModelOps> ops_ = new_cpu_model_ops();
};

TEST_F(WeightPartsTest, ARankHoldsItsSliceOfEveryMatrix) {
  expect_parts({.heads = 8, .kv_heads = 2, .ffn = 97, .vocabulary = 301});
  expect_parts({.heads = 6, .kv_heads = 1, .ffn = 97, .tied_output = true});
}

/// Columns cut inside blocks of 32; heads of 24, so that those of a part are too.
TEST_F(WeightPartsTest, BlocksAreCutToo) {
  expect_parts({.heads = 4,
                .kv_heads = 4,
                .head_dim = 24,
                .ffn = 160,
                .tied_output = true,
                .type = [](std::string_view name) {
                  return name.starts_with("token") ? TensorType::kQ8_0 : TensorType::kQ4_1;
                }});
}

/// And inside those of 256.
TEST_F(WeightPartsTest, LargeBlocksAreCutToo) {
  expect_parts({.layers = 1,
                .hidden = 256,
                .heads = 4,
                .kv_heads = 4,
                .head_dim = 64,
                .ffn = 768,
                .tied_output = true,
                .type = [](std::string_view name) {
                  if (name.starts_with("token")) return TensorType::kQ6_K;
                  return name.find("ffn") == name.npos ? TensorType::kQ5_K : TensorType::kQ4_K;
                }});
}

TEST_F(WeightPartsTest, TwoRanksTakeHalfTheMatricesEach) {
  const GgufFile file = write({.hidden = 128, .heads = 8, .ffn = 512, .vocabulary = 1024});
  const ModelWeights whole = load(file, {});
  const std::size_t table = whole.embedding().table.size();
  for (int rank = 0; rank < 2; ++rank) {
    const ModelWeights half = load(file, {rank, 2});
    EXPECT_LE(half.bytes() - table, (whole.bytes() - table) * 0.55);
    EXPECT_LT(half.report().file_bytes, whole.report().file_bytes);
  }
}

/// Four ranks of a host, two instances: the ranks of part 0 share a block, and so do those of 1.
TEST_F(WeightPartsTest, RanksOfAHostShareTheirPart) {
  const GgufFile file = write({.heads = 8, .kv_heads = 2});
  const ModelConfig config = read_model_config(file);
  const ModelWeights whole = load(file, {});
  test::run_ranks(4, [&](Communicator& control) {
    const int part = control.rank() % 2;
    const ModelWeights weights = load(file, {part, 2}, {control, {part, part + 2}});
    EXPECT_TRUE(weights.report().shared);
    EXPECT_EQ(weights.report().file_bytes > 0, control.rank() < 2);
    expect_part(weights, whole, config, slices_of(config, {part, 2}));
  });
}

TEST_F(WeightPartsTest, ABlockOfAnotherPartIsNotShared) {
  const GgufFile file = write({});
  test::run_ranks(2, [&](Communicator& control) {
    const ModelWeights weights = load(file, {control.rank(), 2}, {control, {0, 1}});
    EXPECT_EQ(weights.report().shared, control.rank() == 0);
    EXPECT_GT(weights.report().file_bytes, 0u);
  });
}

TEST_F(WeightPartsTest, ProgressGoesUpToWhatIsRead) {
  const GgufFile file = write({.tied_output = true});
  std::uint64_t last = 0, all = 0;
  const auto progress = [&](std::uint64_t done, std::uint64_t total) { last = done, all = total; };
  const ModelWeights weights =
      ModelWeights::load(file, read_model_config(file), *ops_, {},
                         {.threads = 3, .progress = progress, .part = {1, 2}});
  EXPECT_EQ(last, all);
  EXPECT_EQ(weights.report().file_bytes, all);
}

}  // namespace
}  // namespace longspan
