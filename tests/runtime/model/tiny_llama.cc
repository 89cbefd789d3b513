#include "tests/runtime/model/tiny_llama.h"

#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/byte_alphabet.h"

namespace longspan::test {
namespace {

/// As tokenizer files write them: U+0120 is a space.
const std::vector<std::string>& tiny_merges() {
  static const std::vector<std::string> merges{"h e",   "l l",           "\u0120 t", "\u0120t he",
                                               "he ll", "\u0120 \u0120", "1 2"};
  return merges;
}

std::string joined(const std::string& merge) {
  const std::size_t space = merge.find(' ');
  return merge.substr(0, space) + merge.substr(space + 1);
}

/// Uniform over [centre - spread, centre + spread). Not std::uniform_real_distribution, whose
/// numbers a standard library may choose.
std::vector<float> random_values(std::mt19937_64& random, std::int64_t count, double centre,
                                 double spread) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    const double unit = static_cast<double>(random() >> 11) * 0x1p-53;
    value = static_cast<float>(centre + spread * (2 * unit - 1));
  }
  return values;
}

/// Adds the tensors of one model, in the order of the calls.
class Weights {
 public:
  Weights(const TinyLlama& model, GgufWriter& writer)
      : model_(model), writer_(writer), random_(model.seed) {}

  /// Variance 1/inputs keeps activations near 1 through any number of layers.
  void matrix(const std::string& name, std::int64_t outputs, std::int64_t inputs) {
    const double spread = std::sqrt(3.0 / static_cast<double>(inputs));
    const auto values = random_values(random_, outputs * inputs, 0, spread);
    writer_.add_tensor(name, model_.type(name), {outputs, inputs}, values);
  }
  void norm(const std::string& name) {
    const auto values = random_values(random_, model_.hidden, 1, 0.25);
    writer_.add_tensor(name, TensorType::kF32, {model_.hidden}, values);
  }
  void layer(int index) {
    const int q_width = model_.heads * model_.head_dim,
              kv_width = model_.kv_heads * model_.head_dim;
    const auto name = [&](std::string_view part) { return str("blk.{}.{}.weight", index, part); };
    norm(name("attn_norm"));
    matrix(name("attn_q"), q_width, model_.hidden);
    matrix(name("attn_k"), kv_width, model_.hidden);
    matrix(name("attn_v"), kv_width, model_.hidden);
    matrix(name("attn_output"), model_.hidden, q_width);
    norm(name("ffn_norm"));
    matrix(name("ffn_gate"), model_.ffn, model_.hidden);
    matrix(name("ffn_up"), model_.ffn, model_.hidden);
    matrix(name("ffn_down"), model_.hidden, model_.ffn);
  }

 private:
  const TinyLlama& model_;
  GgufWriter& writer_;
  std::mt19937_64 random_;
};

void set_shape(const TinyLlama& model, GgufWriter& writer) {
  const auto set = [&](std::string_view key, std::int64_t value) {
    writer.set_uint32(str("llama.{}", key), static_cast<std::uint32_t>(value));
  };
  writer.set_string("general.architecture", "llama");
  writer.set_string("general.name", "Tiny Llama");
  set("block_count", model.layers);
  set("context_length", model.context);
  set("embedding_length", model.hidden);
  set("feed_forward_length", model.ffn);
  set("attention.head_count", model.heads);
  set("attention.head_count_kv", model.kv_heads);
  set("attention.key_length", model.head_dim);
  set("attention.value_length", model.head_dim);
  set("rope.dimension_count", model.head_dim);
  set("vocab_size", model.vocabulary);
  writer.set_float("llama.attention.layer_norm_rms_epsilon", model.norm_epsilon);
  writer.set_float("llama.rope.freq_base", static_cast<float>(model.rope_base));
}

}  // namespace

void set_tiny_tokenizer(GgufWriter& writer, int vocabulary) {
  expects(vocabulary >= kTinyTokens, "room for the tiny tokenizer");
  constexpr std::int32_t kNormal = 1, kControl = 3, kUnused = 5;
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(letter_of(static_cast<std::uint8_t>(byte)));
  }
  for (const std::string& merge : tiny_merges()) tokens.push_back(joined(merge));
  std::vector<std::int32_t> types(tokens.size(), kNormal);
  tokens.push_back("<|endoftext|>");
  types.push_back(kControl);
  while (static_cast<int>(tokens.size()) < vocabulary) {
    tokens.push_back(str("[UNUSED{}]", tokens.size()));
    types.push_back(kUnused);
  }
  writer.set_string("tokenizer.ggml.model", "gpt2");
  writer.set_string("tokenizer.ggml.pre", "smollm");
  writer.set_strings("tokenizer.ggml.tokens", tokens);
  writer.set_int32s("tokenizer.ggml.token_type", types);
  writer.set_strings("tokenizer.ggml.merges", tiny_merges());
  writer.set_uint32("tokenizer.ggml.eos_token_id", kTinyEndOfText);
  writer.set_uint32("tokenizer.ggml.bos_token_id", kTinyEndOfText);
  writer.set_bool("tokenizer.ggml.add_bos_token", false);
}

GgufWriter TinyLlama::writer() const {
  GgufWriter writer;
  set_shape(*this, writer);
  set_tiny_tokenizer(writer, vocabulary);
  Weights weights(*this, writer);
  weights.matrix("token_embd.weight", vocabulary, hidden);
  for (int layer = 0; layer < layers; ++layer) weights.layer(layer);
  weights.norm("output_norm.weight");
  if (!tied_output) weights.matrix("output.weight", vocabulary, hidden);
  return writer;
}

}  // namespace longspan::test
