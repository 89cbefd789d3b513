#include "runtime/model/added_tokens.h"

#include <algorithm>
#include <utility>

#include "runtime/model/unicode.h"
#include "runtime/model/utf8.h"

namespace longspan {
namespace {

/// Bytes of the character that `text` ends with.
std::size_t last_character(std::string_view text) {
  std::size_t bytes = 1;
  while ((static_cast<unsigned char>(text[text.size() - bytes]) & 0xc0) == 0x80) ++bytes;
  return bytes;
}

bool ends_with_word(std::string_view text) {
  return !text.empty() &&
         is_word_character(code_point(text.substr(text.size() - last_character(text))));
}

bool begins_with_word(std::string_view text) {
  return !text.empty() && is_word_character(code_point(text.substr(0, first_utf8(text).bytes)));
}

std::size_t spaces_at_end(std::string_view text) {
  const std::size_t whole = text.size();
  while (!text.empty()) {
    const std::size_t bytes = last_character(text);
    if (!is_white_space(code_point(text.substr(text.size() - bytes)))) break;
    text.remove_suffix(bytes);
  }
  return whole - text.size();
}

std::size_t spaces_at_begin(std::string_view text) {
  const std::size_t whole = text.size();
  while (!text.empty()) {
    const std::size_t bytes = first_utf8(text).bytes;
    if (!is_white_space(code_point(text.substr(0, bytes)))) break;
    text.remove_prefix(bytes);
  }
  return whole - text.size();
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) {
  for (AddedToken& token : tokens) {
    written_.add(token.written, token.id);
    const TokenId id = token.id;
    by_id_.emplace(id, std::move(token));
  }
}

std::vector<TextPart> AddedTokens::parts(std::string_view text) const {
  std::vector<TextPart> parts;
  std::size_t taken = 0;  // all before belongs to parts
  std::size_t from = 0;   // matches do not overlap, white space that tokens take may
  while (const auto match = written_.find(text, from)) {
    from = match->end;
    const AddedToken& token = by_id_.at(match->id);
    if (token.only_as_word && (ends_with_word(text.substr(0, match->begin)) ||
                               begins_with_word(text.substr(match->end)))) {
      continue;
    }
    std::size_t begin = std::max(match->begin, taken), end = std::max(match->end, taken);
    if (token.takes_left) begin -= spaces_at_end(text.substr(taken, begin - taken));
    if (token.takes_right) end += spaces_at_begin(text.substr(end));
    if (begin > taken) parts.push_back({text.substr(taken, begin - taken)});
    parts.push_back({text.substr(begin, end - begin), token.id});
    taken = end;
  }
  if (taken < text.size()) parts.push_back({text.substr(taken)});
  return parts;
}

}  // namespace longspan
