// config.json of model folders: both dialects say the same, and what is not built is refused by
// name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/error.h"
#include "runtime/model/model_config.h"
#include "runtime/model/model_folder.h"
#include "tests/runtime/model/family_model.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

ModelConfig read(const test::FamilyModel& model, const nlohmann::json& config) {
  const test::TemporaryDirectory directory;
  model.write(directory.path(), config);
  return read_model_config(ModelFolder(directory.path()));
}

TEST(FolderConfigTest, BothDialectsSayTheSame) {
  for (const std::string& name : test::FamilyModel::names()) {
    const test::FamilyModel model(name);
    const ModelConfig a = read(model, model.json().at("config"));
    const ModelConfig b = read(model, model.json().at("config_4"));
    EXPECT_EQ(a.ropes.distinct(), b.ropes.distinct()) << name;
    EXPECT_EQ(a.context, b.context) << name;
    for (int layer = 0; layer < a.layers; ++layer) {
      EXPECT_EQ(a.ropes.index(layer), b.ropes.index(layer)) << name;
      EXPECT_EQ(a.masks.distinct()[a.masks.index(layer)], b.masks.distinct()[b.masks.index(layer)])
          << name;
    }
  }
}

TEST(FolderConfigTest, AFamilyIsData) {
  const test::FamilyModel model("gemma3");
  const ModelConfig config = read(model, model.json().at("config"));
  EXPECT_EQ(config.architecture, "Gemma3ForCausalLM");
  EXPECT_EQ(config.activation, Activation::kGeluTanh);
  EXPECT_TRUE(config.post_norms && config.qk_norm && config.tied_output);
  EXPECT_FALSE(config.qkv_bias);
  EXPECT_FLOAT_EQ(config.embedding_scale, std::sqrt(60.0f));
  EXPECT_EQ(config.form.norm_offset, 1);
  ASSERT_EQ(config.masks.distinct().size(), 2);
  EXPECT_EQ(config.masks.distinct()[0], Mask::window(10));
  EXPECT_EQ(config.masks.index(2), 1);
  EXPECT_EQ(config.ropes.distinct()[config.ropes.index(2)].base, 1e6);
}

TEST(FolderConfigTest, GemmasLayersFollowThePatternWhereNoneAreListed) {
  const test::FamilyModel model("gemma3");
  nlohmann::json config = model.json().at("config_4");
  config.erase("layer_types");
  config["sliding_window_pattern"] = 3;
  const ModelConfig read_config = read(model, config);
  EXPECT_EQ(read_config.masks.distinct()[read_config.masks.index(2)], Mask::causal());
  EXPECT_EQ(read_config.masks.distinct()[read_config.masks.index(3)], Mask::window(10));
}

TEST(FolderConfigTest, StretchedContextsReachAsFarAsTheirRule) {
  EXPECT_EQ(read(test::FamilyModel("llama-dynamic"),
                 test::FamilyModel("llama-dynamic").json().at("config"))
                .context,
            64);
}

class RefusedConfigTest : public testing::Test {
 protected:
  /// What a model says whose config.json has this instead of its own value.
  static std::string refusal(const std::string& key, const nlohmann::json& value,
                             const std::string& name = "llama") {
    const test::FamilyModel model(name);
    nlohmann::json config = model.json().at("config");
    config[key] = value;
    try {
      read(model, config);
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
      return error.what();
    }
    return "accepted";
  }
};

TEST_F(RefusedConfigTest, ArchitecturesThatAreNotBuiltAreNamed) {
  EXPECT_THAT(refusal("architectures", {"MixtralForCausalLM"}),
              AllOf(HasSubstr("'MixtralForCausalLM'"), HasSubstr("LlamaForCausalLM")));
  EXPECT_THAT(refusal("architectures", nlohmann::json::array()), HasSubstr("architectures"));
}

TEST_F(RefusedConfigTest, MathematicsThatIsNotBuiltIsNamed) {
  EXPECT_THAT(refusal("attn_logit_softcapping", 50.0, "gemma3"),
              AllOf(HasSubstr("attn_logit_softcapping"), HasSubstr("capped")));
  EXPECT_THAT(refusal("final_logit_softcapping", 30.0, "gemma3"), HasSubstr("capped logits"));
  EXPECT_THAT(refusal("use_bidirectional_attention", true, "gemma3"), HasSubstr("causal"));
  EXPECT_THAT(refusal("attention_bias", true), HasSubstr("bias"));
  EXPECT_THAT(refusal("mlp_bias", true), HasSubstr("biases"));
  EXPECT_THAT(refusal("quantization_config", {{"bits", 4}}), HasSubstr("quantised"));
  EXPECT_THAT(refusal("hidden_act", "relu"), AllOf(HasSubstr("'relu'"), HasSubstr("silu")));
  EXPECT_THAT(refusal("layer_types", {"full_attention", "linear_attention"}, "qwen2-sliding"),
              HasSubstr("layer_types"));
}

TEST_F(RefusedConfigTest, UnknownKeysAreRefusedUnlessTheyAreOff) {
  EXPECT_THAT(refusal("logits_scaling", 8.0), HasSubstr("logits_scaling"));
  EXPECT_THAT(refusal("num_local_experts", 8), HasSubstr("num_local_experts"));
  EXPECT_THAT(refusal("sliding_windows", 8), HasSubstr("sliding_windows"));
  EXPECT_EQ(refusal("logits_scaling", nullptr), "accepted");
  EXPECT_EQ(refusal("use_magic", false), "accepted");
}

TEST_F(RefusedConfigTest, HeadsOfOtherSizesSayWhichAreUsable) {
  for (const int dim : {8, 12, 20, 264}) {
    EXPECT_THAT(refusal("head_dim", dim),
                AllOf(HasSubstr(std::to_string(dim)), HasSubstr("multiples of 8 from 16 to 256")));
  }
  EXPECT_THAT(refusal("num_key_value_heads", 2), HasSubstr("does not divide"));
}

TEST_F(RefusedConfigTest, NumbersStayInBounds) {
  for (const char* key : {"num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size",
                          "num_attention_heads", "max_position_embeddings"}) {
    for (const nlohmann::json& wrong :
         {nlohmann::json(0), nlohmann::json(-1), nlohmann::json(1e300), nlohmann::json("8"),
          nlohmann::json(18446744073709551615u), nlohmann::json(nullptr)}) {
      EXPECT_THAT(refusal(key, wrong), HasSubstr(key)) << wrong;
    }
  }
  EXPECT_THAT(refusal("rms_norm_eps", -1), HasSubstr("rms_norm_eps"));
}

TEST_F(RefusedConfigTest, RulesOfRotationAreCheckedKeyByKey) {
  const auto rule = [](const char* type, const char* key, const nlohmann::json& value) {
    nlohmann::json all{{"rope_type", type}, {"rope_theta", 1e4}, {"factor", 2.0}};
    all[key] = value;
    return refusal("rope_parameters", all);
  };
  EXPECT_THAT(rule("ntk", "factor", 2), AllOf(HasSubstr("'ntk'"), HasSubstr("longrope")));
  EXPECT_THAT(rule("default", "mrope_section", {16, 24, 24}), HasSubstr("mrope_section"));
  EXPECT_THAT(rule("linear", "factor", 0), HasSubstr("rope_parameters.factor"));
  EXPECT_THAT(rule("linear", "factor", nullptr), HasSubstr("factor"));
  EXPECT_THAT(rule("llama3", "low_freq_factor", 1), HasSubstr("high_freq_factor"));
  EXPECT_THAT(rule("longrope", "short_factor", {1, 2}), HasSubstr("short_factor"));
  EXPECT_THAT(rule("default", "partial_rotary_factor", 0.1), HasSubstr("of 16 dimensions"));
  EXPECT_THAT(rule("default", "rope_theta", "big"), HasSubstr("rope_theta"));
}

TEST_F(RefusedConfigTest, WeightsThatDoNotFitAreNamedAsTheFileNamesThem) {
  EXPECT_THAT(refusal("intermediate_size", 53),
              AllOf(HasSubstr("model.layers.0.mlp."), HasSubstr("53")));
  EXPECT_THAT(refusal("num_hidden_layers", 3), HasSubstr("model.layers.2"));
  EXPECT_THAT(refusal("intermediate_size", 50, "phi3"),
              AllOf(HasSubstr("gate_up_proj"), HasSubstr("100")));
}

}  // namespace
}  // namespace longspan
