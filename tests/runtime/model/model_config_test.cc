#include "runtime/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "comm/error.h"
#include "runtime/model/gguf.h"
#include "tests/runtime/model/gguf_writer.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"

namespace longspan {
namespace {

using test::GgufWriter;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ModelConfigTest : public ::testing::Test {
 protected:
  ModelConfig config(const GgufWriter& writer) {
    writer.write(path_);
    return read_model_config(GgufFile(path_));
  }
  std::string refusal(const GgufWriter& writer) {
    try {
      config(writer);
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("model.gguf"));
      return error.what();
    }
    return "accepted";
  }

  test::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "model.gguf";
};

TEST_F(ModelConfigTest, TheShapeOfATinyModelIsRead) {
  const ModelConfig tiny = config(test::TinyLlama{.layers = 3,
                                                  .hidden = 96,
                                                  .heads = 6,
                                                  .kv_heads = 3,
                                                  .head_dim = 24,
                                                  .ffn = 160,
                                                  .vocabulary = 300,
                                                  .context = 4096,
                                                  .rope_base = 500000}
                                      .writer());
  EXPECT_EQ(tiny.name, "Tiny Llama");
  EXPECT_EQ(tiny.layers, 3);
  EXPECT_EQ(tiny.hidden, 96);
  EXPECT_EQ(tiny.ffn, 160);
  EXPECT_EQ(tiny.heads.query_heads, 6);
  EXPECT_EQ(tiny.heads.kv_heads, 3);
  EXPECT_EQ(tiny.heads.head_dim, 24);
  EXPECT_EQ(tiny.vocabulary, 300);
  EXPECT_EQ(tiny.context, 4096);
  EXPECT_EQ(tiny.ropes.distinct().front().base, 500000);
  EXPECT_FLOAT_EQ(tiny.norm_epsilon, 1e-5f);
  EXPECT_FALSE(tiny.tied_output);
}

TEST_F(ModelConfigTest, WhatTheFileLeavesOutIsDerived) {
  GgufWriter writer = test::TinyLlama{.kv_heads = 4, .tied_output = true}.writer();
  for (const auto* key :
       {"general.name", "llama.attention.head_count_kv", "llama.attention.key_length",
        "llama.attention.value_length", "llama.rope.dimension_count", "llama.rope.freq_base",
        "llama.vocab_size"}) {
    writer.remove(key);
  }
  const ModelConfig tiny = config(writer);
  EXPECT_EQ(tiny.name, "model");
  EXPECT_EQ(tiny.heads.kv_heads, 4);
  EXPECT_EQ(tiny.heads.head_dim, 16);
  EXPECT_EQ(tiny.ropes.distinct().front().base, 10000);
  EXPECT_EQ(tiny.vocabulary, 288);
  EXPECT_TRUE(tiny.tied_output);
}

TEST_F(ModelConfigTest, EveryMatrixMayHaveItsOwnType) {
  test::TinyLlama tiny;
  tiny.type = [](std::string_view tensor) {
    if (tensor.find("attn") != tensor.npos) return TensorType::kQ4_1;
    if (tensor.find("ffn_down") != tensor.npos) return TensorType::kQ8_0;
    return tensor.find("ffn") != tensor.npos ? TensorType::kQ4_0 : TensorType::kF16;
  };
  EXPECT_EQ(refusal(tiny.writer()), "accepted");
}

struct Refusal {
  std::string why;
  std::function<void(GgufWriter&)> change;
  std::string message;
};

TEST_F(ModelConfigTest, WhatIsNotBuiltIsRefusedByName) {
  const auto number = [](std::string key, std::uint32_t value) {
    return [=](GgufWriter& writer) { writer.set_uint32(key, value); };
  };
  const std::vector<Refusal> cases{
      {"another architecture", [](auto& w) { w.set_string("general.architecture", "qwen2\n"); },
       "architecture 'qwen2\\x0a' is not built"},
      {"rope scaling", [](auto& w) { w.set_string("llama.rope.scaling.type", "yarn"); },
       "llama.rope.scaling.type is 'yarn'"},
      {"old rope scaling", [](auto& w) { w.set_float("llama.rope.scale_linear", 2); },
       "llama.rope.scale_linear asks for rope scaling"},
      {"experts", number("llama.expert_count", 8), "llama.expert_count asks for mixtures"},
      {"windows of some layers", number("llama.attention.sliding_window_pattern", 2),
       "sliding_window_pattern is not a key"},
      {"no mask", [](auto& w) { w.set_bool("llama.attention.causal", false); }, "causal"},
      {"the unknown", number("llama.attention.novelty", 1), "llama.attention.novelty is not a key"},
      {"partial rotary", number("llama.rope.dimension_count", 8), "partly rotated heads"},
      {"uneven heads", number("llama.attention.value_length", 32), "value_length is 32"},
      {"frequencies",
       [](auto& w) {
         w.add_tensor("rope_freqs.weight", TensorType::kF32, {8}, std::vector<float>(8));
       },
       "tensor rope_freqs.weight is unexpected: rotary"},
      {"biases",
       [](auto& w) {
         w.add_tensor("blk.1.attn_q.bias", TensorType::kF32, {64}, std::vector<float>(64));
       },
       "tensor blk.1.attn_q.bias is unexpected: biases are not built"},
  };
  for (const Refusal& one : cases) {
    GgufWriter writer = test::TinyLlama{}.writer();
    one.change(writer);
    EXPECT_THAT(refusal(writer), HasSubstr(one.message)) << one.why;
  }
}

TEST_F(ModelConfigTest, WhatIsSwitchedOffIsAccepted) {
  GgufWriter writer = test::TinyLlama{}.writer();
  writer.set_uint32("llama.expert_count", 0);
  writer.set_string("llama.rope.scaling.type", "none");
  writer.set_float("llama.rope.scaling.factor", 1);
  writer.set_bool("llama.attention.causal", true);
  writer.set_string("other.key", "ignored");
  EXPECT_EQ(refusal(writer), "accepted");
}

TEST_F(ModelConfigTest, ASlidingWindowIsThatOfEveryLayer) {
  GgufWriter writer = test::TinyLlama{.layers = 3}.writer();
  EXPECT_THAT(config(writer).masks.distinct(), ElementsAre(Mask::causal()));
  writer.set_uint32("llama.attention.sliding_window", 0);
  EXPECT_THAT(config(writer).masks.distinct(), ElementsAre(Mask::causal()));
  writer.set_uint32("llama.attention.sliding_window", 4096);
  const LayerMasks masks = config(writer).masks;
  EXPECT_THAT(masks.distinct(), ElementsAre(Mask::window(4096)));
  for (int layer = 0; layer < 3; ++layer) EXPECT_EQ(masks.index(layer), 0);
}

TEST_F(ModelConfigTest, EveryNumberHasBounds) {
  struct Case {
    std::string key;
    std::uint32_t value;
    std::string message;
  };
  const std::vector<Case> cases{
      {"block_count", 0, "llama.block_count is 0; it must be 1 to 1024"},
      {"block_count", 1025, "llama.block_count is 1025"},
      {"embedding_length", 0, "llama.embedding_length is 0"},
      {"embedding_length", 0xffffffff, "llama.embedding_length is 4294967295"},
      {"feed_forward_length", 0, "llama.feed_forward_length is 0"},
      {"context_length", 0, "llama.context_length is 0"},
      {"context_length", 0x80000001, "llama.context_length is 2147483649"},
      {"attention.head_count", 0, "llama.attention.head_count is 0"},
      {"attention.head_count", 100000, "llama.attention.head_count is 100000"},
      {"attention.head_count_kv", 0, "head_count_kv is 0; it must be 1 to 4"},
      {"attention.head_count_kv", 3, "head_count_kv is 3, which does not divide the 4 query heads"},
      {"attention.head_count_kv", 8, "head_count_kv is 8; it must be 1 to 4"},
      {"attention.key_length", 8, "the head dimension is 8; it must be 16 to 256"},
      {"attention.key_length", 264, "the head dimension is 264"},
      {"attention.key_length", 20, "the head dimension 20 is no multiple of 8"},
      {"attention.sliding_window", 0x80000001, "llama.attention.sliding_window is 2147483649"},
      {"vocab_size", 100, "llama.vocab_size is 100, but token_embd.weight has 288 rows"},
  };
  for (const Case& one : cases) {
    GgufWriter writer = test::TinyLlama{}.writer();
    writer.set_uint32("llama." + one.key, one.value);
    EXPECT_THAT(refusal(writer), HasSubstr(one.message));
  }
  for (const float odd : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity()}) {
    GgufWriter writer = test::TinyLlama{}.writer();
    writer.set_float("llama.rope.freq_base", odd);
    EXPECT_THAT(refusal(writer), HasSubstr("llama.rope.freq_base is "));
  }
}

TEST_F(ModelConfigTest, AKeyThatEveryModelHasIsMissed) {
  for (const std::string key :
       {"general.architecture", "llama.block_count", "llama.embedding_length",
        "llama.feed_forward_length", "llama.context_length", "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon"}) {
    GgufWriter writer = test::TinyLlama{}.writer();
    writer.remove(key);
    EXPECT_THAT(refusal(writer), HasSubstr("key " + key + " is missing"));
  }
}

TEST_F(ModelConfigTest, AMissingTensorIsNamed) {
  const GgufWriter complete = test::TinyLlama{.layers = 1}.writer();
  for (const auto& tensor : complete.tensors) {
    GgufWriter writer = complete;
    writer.remove_tensor(tensor.name);
    if (tensor.name == "output.weight") {
      EXPECT_EQ(refusal(writer), "accepted");  // tied
    } else {
      EXPECT_THAT(refusal(writer), AllOf(HasSubstr(tensor.name), HasSubstr("missing")));
    }
  }
}

TEST_F(ModelConfigTest, AMisnamedTensorIsNamed) {
  GgufWriter writer = test::TinyLlama{}.writer();
  writer.tensor("blk.1.ffn_down.weight").name = "blk.1.ffn_dawn.weight";
  EXPECT_THAT(refusal(writer), HasSubstr("tensor blk.1.ffn_dawn.weight is unexpected"));
  // Nor is a layer too many.
  writer = test::TinyLlama{}.writer();
  writer.tensor("blk.1.ffn_down.weight").name = "blk.2.ffn_down.weight";
  EXPECT_THAT(refusal(writer), HasSubstr("tensor blk.2.ffn_down.weight is unexpected"));
}

TEST_F(ModelConfigTest, AWrongShapeIsNamedWithTheRightOne) {
  GgufWriter writer = test::TinyLlama{}.writer();
  writer.tensor("blk.1.ffn_down.weight").shape = {96, 64};
  EXPECT_THAT(refusal(writer),
              HasSubstr("tensor blk.1.ffn_down.weight has shape (96, 64); expected (64, 96)"));
}

TEST_F(ModelConfigTest, TokensAndEmbeddingMustAgree) {
  GgufWriter writer = test::TinyLlama{}.writer();
  test::set_tiny_tokenizer(writer, 300);
  EXPECT_THAT(refusal(writer), HasSubstr("has 300 tokens, but token_embd.weight has 288 rows"));
}

}  // namespace
}  // namespace longspan
