#include "runtime/model/vocabulary.h"

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/byte_alphabet.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";

// Bounds the search for special tokens: so many steps per byte of text at most.
constexpr std::size_t kLongestSpecial = 512;

constexpr std::int64_t kControl = 3;
constexpr std::int64_t kUserDefined = 4;
constexpr std::int64_t kLastType = 6;

const std::vector<std::string>& require_strings(const GgufFile& file, std::string_view key) {
  if (const auto* strings = file.find_strings(key)) return *strings;
  throw DataError(
      str("{}: key {} is missing: the file has no tokenizer of this kind, convert the "
          "model again",
          file.path().string(), key));
}

}  // namespace

Vocabulary::Vocabulary(const GgufFile& file)
    : file_(file), tokens_(&require_strings(file, kTokens)), types_(file.find_ints(kTypes)) {
  if (tokens_->empty()) fail(kTokens, "is empty");
  if (types_ && types_->size() != tokens_->size()) {
    fail(kTypes, str("has {} entries for {} tokens", types_->size(), tokens_->size()));
  }
  ids_.reserve(tokens_->size());
  for (std::size_t i = 0; i < tokens_->size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    check_token(id);
    const auto [first, fresh] = ids_.emplace((*tokens_)[i], id);
    if (!fresh) {
      fail(kTokens, str("has '{}' twice, as {} and {}", printable(first->first), first->second, i));
    }
  }
}

void Vocabulary::fail(std::string_view key, std::string_view problem) const {
  throw DataError(str("{}: {} {}: the tokenizer contradicts itself, convert the model again",
                      file_.path().string(), key, problem));
}

void Vocabulary::check_token(TokenId id) const {
  const std::string& token = (*tokens_)[id];
  if (token.empty()) fail(kTokens, str("has an empty token, {}", id));
  if (find_invalid_utf8(token) != std::string::npos) {
    fail(kTokens, str("has a token that is not UTF-8, {}: '{}'", id, printable(token)));
  }
  if (is_special(id) && token.size() > kLongestSpecial) {
    fail(kTokens, str("has a special token of {} bytes, {}; {} are possible", token.size(), id,
                      kLongestSpecial));
  }
  if (types_ && ((*types_)[id] < 1 || (*types_)[id] > kLastType)) {
    fail(kTypes, str("gives token {} the unknown type {}", id, (*types_)[id]));
  }
}

bool Vocabulary::is_special(TokenId id) const {
  return types_ && ((*types_)[id] == kControl || (*types_)[id] == kUserDefined);
}

TokenId Vocabulary::find(std::string_view written) const {
  const auto found = ids_.find(written);
  return found == ids_.end() ? -1 : found->second;
}

TokenId Vocabulary::require(std::string_view written, std::size_t merge) const {
  const TokenId id = find(written);
  if (id < 0) fail(kMerges, str("names '{}' in merge {}, no token", printable(written), merge));
  return id;
}

std::vector<std::string> Vocabulary::token_bytes() const {
  std::vector<std::string> bytes;
  bytes.reserve(tokens_->size());
  for (std::size_t i = 0; i < tokens_->size(); ++i) {
    const std::string& written = (*tokens_)[i];
    // Special tokens, and those outside the alphabet, stand for themselves.
    bytes.push_back(is_special(static_cast<TokenId>(i)) ? written
                                                        : bytes_of(written).value_or(written));
  }
  return bytes;
}

SpecialTokens Vocabulary::special_tokens() const {
  SpecialTokens special;
  for (std::size_t i = 0; i < tokens_->size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (is_special(id)) special.add((*tokens_)[i], id);
  }
  return special;
}

BytePairs::Letters Vocabulary::letters() const {
  BytePairs::Letters letters;
  for (std::size_t byte = 0; byte < letters.size(); ++byte) {
    letters[byte] = find(letter_of(static_cast<std::uint8_t>(byte)));
  }
  return letters;
}

BytePairs Vocabulary::byte_pairs() const {
  const std::vector<std::string>& merges = require_strings(file_, kMerges);
  BytePairs pairs(letters(), merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::string_view merge = merges[i];
    const std::size_t space = merge.find(' ');
    if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos) {
      fail(kMerges, str("has '{}' as merge {}, not two words", printable(merge), i));
    }
    const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    const TokenId merged = require(std::string(left).append(right), i);
    if (!pairs.add(require(left, i), require(right, i), merged)) {
      fail(kMerges, str("has '{}' a second time as merge {}", printable(merge), i));
    }
  }
  return pairs;
}

TokenId Vocabulary::find_id(std::string_view key) const {
  const std::int64_t id = file_.find_int(key).value_or(-1);
  if (file_.find_int(key) && (id < 0 || id >= static_cast<std::int64_t>(tokens_->size()))) {
    fail(key, str("is {}, outside the {} tokens", id, tokens_->size()));
  }
  return static_cast<TokenId>(id);
}

}  // namespace longspan
