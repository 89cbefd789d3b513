#include "runtime/model/model_config.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/gguf.h"
#include "runtime/model/model_tensors.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

/// One file's keys, read with bounds; every failure names file and key.
class Keys {
 public:
  explicit Keys(const GgufFile& file) : file_(file) {}

  [[noreturn]] void fail(std::string_view problem) const {
    throw DataError(str("{}: {}", file_.path().string(), problem));
  }

  std::int64_t bounded(std::string_view key, std::int64_t value, std::int64_t low,
                       std::int64_t high) const {
    if (value >= low && value <= high) return value;
    fail(str("{} is {}; it must be {} to {}", key, value, low, high));
  }
  int require(std::string_view key, int low, int high) const {
    return static_cast<int>(bounded(key, file_.require_int(key), low, high));
  }
  double float_between(std::string_view key, double value, double low, double high) const {
    if (value >= low && value <= high) return value;  // false for NaN
    fail(str("{} is {}; it must be {} to {}", key, value, low, high));
  }

 private:
  const GgufFile& file_;
};

void check_architecture(const GgufFile& file, const Keys& keys) {
  const std::string architecture = file.require_string("general.architecture");
  if (architecture == "llama") return;
  keys.fail(str("architecture '{}' is not built; longspan runs models of architecture 'llama'",
                printable(architecture)));
}

/// Keys that describe the shape, or that no computation reads.
constexpr std::array kUnderstood = std::to_array<std::string_view>({
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.sliding_window",
    "llama.attention.value_length",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.feed_forward_length",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scaling.finetuned",
    "llama.rope.scaling.original_context_length",
    "llama.tensor_data_layout",
    "llama.vocab_size",
});

/// Keys that switch on mathematics we do not build, with the value that leaves it off.
struct NeutralNumber {
  std::string_view key;
  double off;
  std::string_view what;
};
constexpr std::array kNeutral = std::to_array<NeutralNumber>({
    {"llama.attention.causal", 1, "attention without a causal mask"},
    {"llama.attention.clamp_kqv", 0, "clamped projections"},
    {"llama.attn_logit_softcapping", 0, "capped attention scores"},
    {"llama.expert_count", 0, "mixtures of experts"},
    {"llama.expert_used_count", 0, "mixtures of experts"},
    {"llama.final_logit_softcapping", 0, "capped logits"},
    {"llama.rope.scale_linear", 1, "rope scaling"},
    {"llama.rope.scaling.factor", 1, "rope scaling"},
    {"llama.use_parallel_residual", 0, "parallel residuals"},
});

std::optional<double> as_number(const GgufFile::Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (const auto* truth = std::get_if<bool>(&value)) return *truth ? 1.0 : 0.0;
  return std::nullopt;
}

void check_neutral(const Keys& keys, std::string_view key, const GgufFile::Value& value) {
  for (const NeutralNumber& neutral : kNeutral) {
    if (neutral.key != key) continue;
    if (as_number(value) == neutral.off) return;
    keys.fail(str("{} asks for {}, which longspan does not build", key, neutral.what));
  }
  keys.fail(str("{} is not a key longspan knows, and it may change the mathematics", key));
}

/// A key that changes mathematics must stop the load: ignoring it gives fluent, wrong text.
void refuse_other_mathematics(const GgufFile& file, const Keys& keys) {
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with("llama.")) continue;
    if (std::ranges::find(kUnderstood, key) != kUnderstood.end()) continue;
    if (key == "llama.rope.scaling.type") {
      const std::string scaling = file.require_string(key);
      if (scaling == "none") continue;
      keys.fail(str("{} is '{}'; longspan builds rotary embeddings without scaling only", key,
                    printable(scaling)));
    }
    check_neutral(keys, key, value);
  }
}

int read_head_dim(const GgufFile& file, const Keys& keys, int hidden, int heads) {
  const auto rotated = file.find_int("llama.rope.dimension_count");
  auto key_length = file.find_int("llama.attention.key_length");
  if (!key_length && hidden % heads == 0) key_length = hidden / heads;
  if (!key_length) key_length = rotated;
  if (!key_length) {
    keys.fail(
        str("llama.embedding_length {} does not divide by llama.attention.head_count {}, and "
            "llama.attention.key_length is missing",
            hidden, heads));
  }
  const std::int64_t head_dim = keys.bounded("the head dimension", *key_length, 16, 256);
  if (head_dim % 8 != 0) keys.fail(str("the head dimension {} is no multiple of 8", head_dim));
  if (rotated.value_or(head_dim) != head_dim) {
    keys.fail(
        str("llama.rope.dimension_count is {} of {}; longspan does not build partly rotated "
            "heads",
            *rotated, head_dim));
  }
  const std::int64_t value_length =
      file.find_int("llama.attention.value_length").value_or(head_dim);
  if (value_length != head_dim) {
    keys.fail(
        str("llama.attention.value_length is {}, but keys have {}; longspan builds equal "
            "lengths only",
            value_length, head_dim));
  }
  return static_cast<int>(head_dim);
}

HeadShape read_heads(const GgufFile& file, const Keys& keys, int hidden) {
  constexpr int kMostHeads = 1024;
  HeadShape heads{};
  heads.query_heads = keys.require("llama.attention.head_count", 1, kMostHeads);
  constexpr std::string_view kKvKey = "llama.attention.head_count_kv";
  heads.kv_heads = static_cast<int>(keys.bounded(
      kKvKey, file.find_int(kKvKey).value_or(heads.query_heads), 1, heads.query_heads));
  if (heads.query_heads % heads.kv_heads != 0) {
    keys.fail(str("{} is {}, which does not divide the {} query heads", kKvKey, heads.kv_heads,
                  heads.query_heads));
  }
  heads.head_dim = read_head_dim(file, keys, hidden, heads.query_heads);
  return heads;
}

/// One window for all layers; none when it is 0 or missing. Keys for patterns of layers are
/// refused.
Mask read_mask(const GgufFile& file, const Keys& keys) {
  constexpr std::string_view kWindow = "llama.attention.sliding_window";
  const std::int64_t window =
      keys.bounded(kWindow, file.find_int(kWindow).value_or(0), 0, std::int64_t{1} << 31);
  return window == 0 ? Mask::causal() : Mask::window(window);
}

/// Rows of the embedding, which the keys and the tokenizer must agree with.
int read_vocabulary(const GgufFile& file, const Keys& keys) {
  const TensorInfo* embedding = file.find("token_embd.weight");
  if (embedding == nullptr) keys.fail("tensor token_embd.weight is missing");
  const std::int64_t rows =
      keys.bounded("rows of token_embd.weight", embedding->shape.front(), 1, 1 << 24);
  const std::int64_t declared = file.find_int("llama.vocab_size").value_or(rows);
  if (declared != rows) {
    keys.fail(str("llama.vocab_size is {}, but token_embd.weight has {} rows", declared, rows));
  }
  const auto* tokens = file.find_strings("tokenizer.ggml.tokens");
  if (tokens && tokens->size() != static_cast<std::size_t>(rows)) {
    keys.fail(str("tokenizer.ggml.tokens has {} tokens, but token_embd.weight has {} rows",
                  tokens->size(), rows));
  }
  return static_cast<int>(rows);
}

std::string read_name(const GgufFile& file) {
  const std::string name = printable(file.find_string("general.name").value_or(""));
  return name.empty() ? file.path().stem().string() : name;
}

}  // namespace

ModelConfig read_model_config(const GgufFile& file) {
  const Keys keys(file);
  check_architecture(file, keys);
  refuse_other_mathematics(file, keys);
  constexpr int kWidest = 1 << 20;
  constexpr std::string_view kEpsilon = "llama.attention.layer_norm_rms_epsilon";
  constexpr std::string_view kContext = "llama.context_length";
  constexpr std::string_view kBase = "llama.rope.freq_base";
  ModelConfig config;
  config.name = read_name(file);
  config.architecture = "llama";
  config.layers = keys.require("llama.block_count", 1, 1024);
  config.hidden = keys.require("llama.embedding_length", 1, kWidest);
  config.ffn = keys.require("llama.feed_forward_length", 1, kWidest);
  config.heads = read_heads(file, keys, config.hidden);
  config.context = keys.bounded(kContext, file.require_int(kContext), 1, std::int64_t{1} << 31);
  config.ropes = LayerRopes(RopeSpec{
      .base = keys.float_between(kBase, file.find_float(kBase).value_or(10000.0), 1, 1e12)});
  config.form.interleaved_rope = true;
  if (!file.find_float(kEpsilon)) keys.fail(str("key {} is missing", kEpsilon));
  config.norm_epsilon =
      static_cast<float>(keys.float_between(kEpsilon, *file.find_float(kEpsilon), 0, 1));
  config.vocabulary = read_vocabulary(file, keys);
  config.masks = LayerMasks(read_mask(file, keys));
  config.tied_output = file.find("output.weight") == nullptr;
  check_tensors(file, config);
  return config;
}

}  // namespace longspan
