#include "runtime/model/json_vocabulary.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "comm/str.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

using nlohmann::json;

// Without an embedding to compare with: ids that no token has, at most.
constexpr std::size_t kMostGaps = 1 << 16;

constexpr std::string_view kContradiction =
    "the tokenizer contradicts itself, download the file again";

TokenId find_id(const std::unordered_map<std::string_view, TokenId>& ids, std::string_view key) {
  const auto found = ids.find(key);
  return found == ids.end() ? -1 : found->second;
}

/// The two words of a merge, if it is written in one of its two forms.
std::optional<std::pair<std::string_view, std::string_view>> words_of(const json& merge) {
  const auto text = [](const json& value) -> std::string_view {
    return value.get_ref<const std::string&>();
  };
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(text(merge[0]), text(merge[1]));
  }
  if (!merge.is_string()) return std::nullopt;
  const std::string_view both = text(merge);
  const std::size_t space = both.find(' ');
  if (space == both.npos || both.find(' ', space + 1) != both.npos) return std::nullopt;
  return std::pair(both.substr(0, space), both.substr(space + 1));
}

}  // namespace

JsonVocabulary::JsonVocabulary(const JsonView& root, std::optional<int> embedding)
    : embedding_(embedding) {
  const JsonView tokens = root.at("model").at("vocab");
  tokens.require_object();
  const auto added = root.find("added_tokens");
  const std::size_t count = tokens.value().size() + (added ? added->elements() : 0);
  most_ = embedding ? *embedding : static_cast<std::int64_t>(count + kMostGaps);
  written_.reserve(count);
  read_model(tokens);
  if (written_.empty()) tokens.fail(str("is empty: {}", kContradiction));
  for (std::size_t i = 0; added && i < added->elements(); ++i) read_added(added->element(i));
  if (embedding) written_.resize(static_cast<std::size_t>(*embedding));
}

std::string_view& JsonVocabulary::place(const JsonView& where, std::int64_t id,
                                        std::string_view token) {
  if (id < 0 || id >= most_) {
    where.fail(str("gives '{}' the id {}, outside {}", printable(token), id,
                   embedding_
                       ? str("the model's embedding of {} rows: the files belong to different "
                             "models, download them again",
                             *embedding_)
                       : str("0..{}: {}", most_ - 1, kContradiction)));
  }
  if (static_cast<std::size_t>(id) >= written_.size()) written_.resize(id + 1);
  std::string_view& place = written_[id];
  if (place.data() != nullptr) {
    where.fail(str("gives the id {} to '{}' and to '{}': {}", id, printable(place),
                   printable(token), kContradiction));
  }
  return place;
}

void JsonVocabulary::read_model(const JsonView& tokens) {
  in_model_.reserve(tokens.value().size());
  for (auto entry = tokens.value().begin(); entry != tokens.value().end(); ++entry) {
    const std::string& written = entry.key();
    if (!entry->is_number_integer()) {
      tokens.fail(
          str("gives '{}' an id that is no integer: {}", printable(written), kContradiction));
    }
    const auto id = entry->get<std::int64_t>();  // one beyond its range becomes negative
    place(tokens, id, written) = written;
    in_model_.emplace(written, static_cast<TokenId>(id));
  }
}

void JsonVocabulary::read_added(const JsonView& token) {
  const std::string& written = token.at("content").text();
  const std::int64_t id = token.at("id").integer();
  if (written.empty() || written.size() > AddedTokens::kLongest) {
    token.fail(str("has a content of {} bytes; 1 to {} are possible", written.size(),
                   AddedTokens::kLongest));
  }
  added_bytes_ += written.size();
  if (added_bytes_ > AddedTokens::kMostBytes) {
    token.fail(str("brings added tokens to more than {} bytes", AddedTokens::kMostBytes));
  }
  if (ids_added_.contains(written)) {
    token.fail(str("adds '{}' a second time: {}", printable(written), kContradiction));
  }
  const TokenId known = find_in_model(written);
  if (known < 0) {
    place(token, id, written) = written;
  } else if (known != id) {
    token.fail(str("gives '{}' the id {}, model.vocab gives it {}: {}", printable(written), id,
                   known, kContradiction));
  }
  ids_added_.emplace(written, static_cast<TokenId>(id));
  added_.push_back({.id = static_cast<TokenId>(id),
                    .written = written,
                    .normalized = token.flag_or("normalized", false),
                    .takes_left = token.flag_or("lstrip", false),
                    .takes_right = token.flag_or("rstrip", false),
                    .only_as_word = token.flag_or("single_word", false)});
}

TokenId JsonVocabulary::find_in_model(std::string_view written) const {
  return find_id(in_model_, written);
}

TokenId JsonVocabulary::find(std::string_view written) const {
  const TokenId id = find_in_model(written);
  return id >= 0 ? id : find_id(ids_added_, written);
}

BytePairs JsonVocabulary::read_merges(const JsonView& merges) const {
  const std::size_t count = merges.elements();
  BytePairs pairs(count);
  std::string joined;
  for (std::size_t i = 0; i < count; ++i) {
    const auto words = words_of(merges.value()[i]);
    if (!words) merges.element(i).fail("is neither two words nor a list of two words");
    const auto require = [&](std::string_view written) {
      const TokenId id = find_in_model(written);
      if (id >= 0) return id;
      merges.element(i).fail(str("names '{}', no token: {}", printable(written), kContradiction));
    };
    const auto& [left, right] = *words;
    joined.assign(left).append(right);
    const BytePairs::Merged merged{static_cast<std::uint32_t>(i), require(joined)};
    if (!pairs.add(require(left), require(right), merged)) {
      merges.element(i).fail(str("repeats a merge: {}", kContradiction));
    }
  }
  return pairs;
}

}  // namespace longspan
