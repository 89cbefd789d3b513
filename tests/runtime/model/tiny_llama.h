// Complete Llama models of a few thousand random weights, for tests that need a model file but not
// a good one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "tests/runtime/model/gguf_writer.h"

namespace longspan::test {

/// Defaults work; change what matters to the test. The same description gives the same file.
struct TinyLlama {
  int layers = 2;
  int hidden = 64;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 16;
  int ffn = 96;
  int vocabulary = 288;  // kTinyTokens at least
  std::int64_t context = 512;
  double rope_base = 10000.0;
  float norm_epsilon = 1e-5f;
  bool tied_output = false;
  std::uint64_t seed = 1;
  /// By tensor name, for matrices; norms are F32. Quantised rows must be multiples of 32.
  std::function<TensorType(std::string_view tensor)> type = [](std::string_view) {
    return TensorType::kF32;
  };

  GgufWriter writer() const;
  void write(const std::filesystem::path& path) const { writer().write(path); }
};

/// The tiny tokenizer: token b is the byte b, then come a few merges and "<|endoftext|>".
inline constexpr int kTinyTokens = 256 + 7 + 1;
inline constexpr int kTinyEndOfText = kTinyTokens - 1;

/// Writes its keys; tokens from kTinyTokens up to `vocabulary` are unused ones.
void set_tiny_tokenizer(GgufWriter& writer, int vocabulary);

}  // namespace longspan::test
