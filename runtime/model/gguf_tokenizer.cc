#include "runtime/model/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/byte_alphabet.h"
#include "runtime/model/printable.h"
#include "runtime/model/scored_pieces.h"
#include "runtime/model/utf8.h"
#include "runtime/model/vocabulary.h"

namespace longspan {
namespace {

constexpr std::string_view kModel = "tokenizer.ggml.model";
constexpr std::string_view kPre = "tokenizer.ggml.pre";
constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";
constexpr std::string_view kAddBos = "tokenizer.ggml.add_bos_token";
constexpr std::string_view kAddEos = "tokenizer.ggml.add_eos_token";
constexpr std::string_view kBos = "tokenizer.ggml.bos_token_id";
constexpr std::string_view kEos = "tokenizer.ggml.eos_token_id";

/// A merge list, each merge of two words that name tokens and together spell a third.
BytePairs read_merges(const GgufFile& file, const Vocabulary& vocabulary) {
  const std::vector<std::string>& merges = require_strings(file, kMerges);
  const auto require = [&](std::string_view written, std::size_t merge) {
    const TokenId id = vocabulary.find(written);
    if (id >= 0) return id;
    vocabulary.fail(kMerges, str("names '{}' in merge {}, no token", printable(written), merge));
  };
  BytePairs pairs(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::string_view merge = merges[i];
    const std::size_t space = merge.find(' ');
    if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos) {
      vocabulary.fail(kMerges, str("has '{}' as merge {}, not two words", printable(merge), i));
    }
    const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    const BytePairs::Merged merged{static_cast<std::uint32_t>(i),
                                   require(std::string(left).append(right), i)};
    if (!pairs.add(require(left, i), require(right, i), merged)) {
      vocabulary.fail(kMerges, str("has '{}' a second time as merge {}", printable(merge), i));
    }
  }
  return pairs;
}

std::vector<AddedToken> special_tokens(const Vocabulary& vocabulary) {
  std::vector<AddedToken> special;
  std::size_t bytes = 0;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary.is_special(id)) continue;
    bytes += vocabulary.written(id).size();
    special.push_back({.id = id, .written = vocabulary.written(id)});
  }
  if (bytes > AddedTokens::kMostBytes) {
    vocabulary.fail(kTokens, str("has special tokens of {} bytes; {} are possible", bytes,
                                 AddedTokens::kMostBytes));
  }
  return special;
}

std::vector<TokenId> read_ends(const Vocabulary& vocabulary) {
  std::vector<TokenId> ends;
  for (const auto key : {kEos, std::string_view("tokenizer.ggml.eot_token_id"),
                         std::string_view("tokenizer.ggml.eom_token_id")}) {
    const TokenId id = vocabulary.find_id(key);
    if (id >= 0 && std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
  }
  return ends;
}

/// The token of `key` if the file, or else the kind of tokenizer, wants it at an end of the text.
std::vector<TokenId> read_border(const GgufFile& file, const Vocabulary& vocabulary,
                                 std::string_view wish, std::string_view key, bool by_itself) {
  const std::optional<bool> wanted = file.find_bool(wish);
  if (!wanted.value_or(by_itself)) return {};
  const TokenId id = vocabulary.find_id(key);
  if (id >= 0) return {id};
  if (!wanted) return {};
  throw DataError(str("{}: {} is set, but {} is missing: convert the model again",
                      file.path().string(), wish, key));
}

PieceRule require_piece_rule(const GgufFile& file, const std::string& pre) {
  if (const auto rule = find_piece_rule(pre)) return *rule;
  throw DataError(str("{}: {} is '{}'; longspan knows: {}", file.path().string(), kPre,
                      printable(pre), kPieceRuleNames));
}

TokenizerRules read_byte_level(const GgufFile& file) {
  const std::string pre = file.require_string(kPre);
  const PieceRule rule =
      require_piece_rule(file, pre);  // first: of another kind, nothing else fits
  const bool by_family = rule == PieceRule::kLlama3 || rule == PieceRule::kTekken;
  const Vocabulary vocabulary(file);
  TokenizerRules rules{.kind = str("gpt2 ({})", pre),
                       .added = special_tokens(vocabulary),
                       .piece_rule = rule,
                       .pairs = read_merges(file, vocabulary),
                       .before = read_border(file, vocabulary, kAddBos, kBos, by_family),
                       .after = read_border(file, vocabulary, kAddEos, kEos, false),
                       .ends = read_ends(vocabulary)};
  if (pre == "qwen2") rules.normalizer = TextNormalizer({ComposeText{}});
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string& written = vocabulary.written(id);
    const auto spelled = vocabulary.is_special(id) ? std::nullopt : bytes_of(written);
    if (spelled && by_family) rules.whole_pieces.emplace(*spelled, id);
    // Special tokens, and those outside the alphabet, stand for themselves.
    rules.bytes.push_back(spelled.value_or(written));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<std::uint8_t>(byte);
    rules.letters.set_byte(value, vocabulary.find(letter_of(value)));
  }
  return rules;
}

const std::vector<double>& require_scores(const GgufFile& file, const Vocabulary& vocabulary) {
  const std::vector<double>* scores = file.find_floats(kScores);
  if (!scores) vocabulary.fail(kScores, "is missing");
  if (std::ssize(*scores) != vocabulary.size()) {
    vocabulary.fail(kScores,
                    str("has {} entries for {} tokens", scores->size(), vocabulary.size()));
  }
  for (std::size_t id = 0; id < scores->size(); ++id) {
    if (!std::isfinite((*scores)[id])) {
      vocabulary.fail(kScores, str("gives token {} the score {}", id, (*scores)[id]));
    }
  }
  return *scores;
}

/// What a token of a SentencePiece vocabulary stands for; letters and bytes are noted in `letters`.
std::string scored_bytes(const Vocabulary& vocabulary, TokenId id, Letters& letters) {
  const std::string& written = vocabulary.written(id);
  switch (vocabulary.kind(id)) {
    case TokenKind::kByte: {
      const auto byte = find_written_byte(written);
      if (!byte) vocabulary.fail(kTokens, str("has '{}' as a byte, {}", printable(written), id));
      if (letters.of_byte(*byte) >= 0) {
        vocabulary.fail(kTokens,
                        str("has byte {} twice, as {} and {}", *byte, letters.of_byte(*byte), id));
      }
      letters.set_byte(*byte, id);
      return {static_cast<char>(*byte)};
    }
    case TokenKind::kNormal:
    case TokenKind::kUnused:
      if (first_utf8(written).bytes == written.size()) letters.set_character(written, id);
      return replaced(written, kWordMark, " ");
    case TokenKind::kUnknown:
    case TokenKind::kControl:
    case TokenKind::kUserDefined:
      return written;
  }
  expects(false, "kinds are checked when the file is read");
  return {};
}

TokenizerRules read_scored(const GgufFile& file) {
  const Vocabulary vocabulary(file);
  const std::vector<double>& scores = require_scores(file, vocabulary);
  const bool space_first = file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  TokenizerRules rules{.kind = "llama (scores)",
                       .added = special_tokens(vocabulary),
                       .letters = Letters(Letters::Unit::kCharacter),
                       .before = read_border(file, vocabulary, kAddBos, kBos, true),
                       .after = read_border(file, vocabulary, kAddEos, kEos, false),
                       .ends = read_ends(vocabulary),
                       .drops_first_space = space_first};
  std::vector<TextNormalizer::Step> steps;
  if (space_first) steps.emplace_back(PrependText{std::string(kWordMark)});
  steps.emplace_back(ReplaceText{" ", std::string(kWordMark)});
  rules.normalizer = TextNormalizer(std::move(steps));
  std::vector<ScoredPiece> pieces;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    rules.bytes.push_back(scored_bytes(vocabulary, id, rules.letters));
    const TokenKind kind = vocabulary.kind(id);
    if (kind == TokenKind::kUnknown) rules.letters.set_unknown(id, true);
    if (kind != TokenKind::kNormal && kind != TokenKind::kUnused) continue;
    pieces.push_back({vocabulary.written(id), id, scores[id]});
  }
  rules.pairs = pairs_by_score(pieces);
  return rules;
}

}  // namespace

TokenizerRules read_gguf_tokenizer(const GgufFile& file) {
  const std::string model = file.require_string(kModel);
  if (model == "gpt2") return read_byte_level(file);
  if (model == "llama") return read_scored(file);
  throw DataError(
      str("{}: {} is '{}'; longspan reads byte-level tokenizers ('gpt2') and SentencePiece's byte "
          "pairs ('llama')",
          file.path().string(), kModel, printable(model)));
}

}  // namespace longspan
