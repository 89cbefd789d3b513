#include "runtime/model/vocabulary.h"

#include <charconv>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/added_tokens.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";

constexpr auto kLastKind = static_cast<std::int64_t>(TokenKind::kByte);

}  // namespace

const std::vector<std::string>& require_strings(const GgufFile& file, std::string_view key) {
  if (const auto* strings = file.find_strings(key)) return *strings;
  throw DataError(
      str("{}: key {} is missing: the file has no tokenizer of this kind, convert the "
          "model again",
          file.path().string(), key));
}

std::optional<std::uint8_t> find_written_byte(std::string_view written) {
  if (written.size() != 6 || !written.starts_with("<0x") || !written.ends_with('>')) return {};
  std::uint8_t byte = 0;
  const char* const digits = written.data() + 3;
  const auto [end, error] = std::from_chars(digits, digits + 2, byte, 16);
  return error == std::errc{} && end == digits + 2 ? std::optional(byte) : std::nullopt;
}

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
  if (is_special(id) && token.size() > AddedTokens::kLongest) {
    fail(kTokens, str("has a special token of {} bytes, {}; {} are possible", token.size(), id,
                      AddedTokens::kLongest));
  }
  if (types_ && ((*types_)[id] < 1 || (*types_)[id] > kLastKind)) {
    fail(kTypes, str("gives token {} the unknown type {}", id, (*types_)[id]));
  }
}

TokenKind Vocabulary::kind(TokenId id) const {
  return types_ ? static_cast<TokenKind>((*types_)[id]) : TokenKind::kNormal;
}

bool Vocabulary::is_special(TokenId id) const {
  return kind(id) == TokenKind::kControl || kind(id) == TokenKind::kUserDefined;
}

TokenId Vocabulary::find(std::string_view written) const {
  const auto found = ids_.find(written);
  return found == ids_.end() ? -1 : found->second;
}

TokenId Vocabulary::find_id(std::string_view key) const {
  const std::int64_t id = file_.find_int(key).value_or(-1);
  if (file_.find_int(key) && (id < 0 || id >= static_cast<std::int64_t>(tokens_->size()))) {
    fail(key, str("is {}, outside the {} tokens", id, tokens_->size()));
  }
  return static_cast<TokenId>(id);
}

}  // namespace longspan
