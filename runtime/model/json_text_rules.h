// The components of a tokenizer.json around its model: what is done to a text before merges, what
// is put around its tokens, and how tokens become text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/json_file.h"
#include "runtime/model/json_vocabulary.h"
#include "runtime/model/letters.h"
#include "runtime/model/pretokenizer.h"
#include "runtime/model/text_normalizer.h"
#include "runtime/model/tokenizer_rules.h"

namespace longspan {

// All take the file as a whole and throw DataError: what is not known is refused by its name.

/// `normalizer`.
TextNormalizer read_normalizer(const JsonView& root);

/// `pre_tokenizer`.
struct JsonPieces {
  Letters::Unit unit = Letters::Unit::kCharacter;
  std::optional<PieceRule> rule;
  std::optional<WordMarks> word_marks;
};
JsonPieces read_pieces(const JsonView& root, const TextNormalizer& normalizer);

/// `post_processor`: what stands before and after every text.
struct JsonBorders {
  std::vector<TokenId> before;
  std::vector<TokenId> after;
};
JsonBorders read_borders(const JsonView& root, const JsonVocabulary& vocabulary);

/// `decoder`.
struct JsonDecoder {
  bool byte_level = false;
  std::vector<ReplaceText> replacements;
  bool byte_fallback = false;
  bool drops_first_space = false;

  /// What a token stands for. `added`: it is no part of the model, and means what is written.
  std::string bytes_of_token(std::string_view written, bool added) const;
};
JsonDecoder read_decoder(const JsonView& root);

}  // namespace longspan
