// A tokenizer as a GGUF file's `tokenizer.ggml.*` keys describe it: byte-level pairs ("gpt2", with
// merges in order) or SentencePiece's ("llama", pieces with scores).
#pragma once

#include "runtime/model/gguf.h"
#include "runtime/model/tokenizer_rules.h"

namespace longspan {

/// Throws DataError naming the key when the tokenizer is of another kind or contradicts itself.
TokenizerRules read_gguf_tokenizer(const GgufFile& file);

}  // namespace longspan
