// All that a tokenizer is, whichever file it came from: read and checked by gguf_tokenizer.h or
// tokenizer_json.h, followed by tokenizer.h.
//
//   text --> added tokens --> normalised --> added tokens --> marks --> pieces --> letters -->
//   pairs
//            of raw text                     of normalised                  \----> whole pieces
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/model/added_tokens.h"
#include "runtime/model/byte_pairs.h"
#include "runtime/model/letters.h"
#include "runtime/model/pretokenizer.h"
#include "runtime/model/text_normalizer.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

/// Word marks in place of spaces, after normalisation (Hugging Face's Metaspace).
struct WordMarks {
  enum class First { kNever, kAtBegin, kAlways };  // a mark in front, unless there is one

  First first = First::kNever;
  bool split = false;  // a piece begins at each mark
};

/// Finds a std::string_view among std::strings.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};
using PieceTokens = std::unordered_map<std::string, TokenId, TextHash, std::equal_to<>>;

struct TokenizerRules {
  std::string kind;                // for people: "gpt2 (smollm)"
  std::vector<std::string> bytes;  // what each token stands for, by id

  std::vector<AddedToken> added;
  TextNormalizer normalizer;
  std::optional<WordMarks> word_marks;
  std::optional<PieceRule> piece_rule;  // none: a text is one piece
  Letters letters{Letters::Unit::kByte};
  BytePairs pairs;
  PieceTokens whole_pieces;  // taken before pairs are merged

  std::vector<TokenId> before;     // put in front of every text
  std::vector<TokenId> after;      // and behind it
  std::vector<TokenId> ends;       // generation stops at any of them
  bool drops_first_space = false;  // when text is made of tokens

  std::filesystem::path ids_only_of;  // set: nothing is known but ids, of the model at this path
};

}  // namespace longspan
