// Tokenizers of a few tokens, for tests.
#pragma once

#include <string>
#include <vector>

#include "runtime/model/gguf.h"
#include "runtime/model/tokenizer.h"
#include "tests/runtime/model/gguf_writer.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"

namespace longspan::test {

inline Tokenizer tokenizer_of(const GgufWriter& writer) {
  const TemporaryDirectory directory;
  writer.write(directory / "model.gguf");
  return Tokenizer(GgufFile(directory / "model.gguf"));
}

/// set_tiny_tokenizer(), and nothing else in the file.
inline GgufWriter tiny_tokenizer_writer() {
  GgufWriter writer;
  set_tiny_tokenizer(writer, kTinyTokens);
  return writer;
}

/// Id of each byte, as the tiny tokenizer numbers them.
inline std::vector<TokenId> byte_ids(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

}  // namespace longspan::test
