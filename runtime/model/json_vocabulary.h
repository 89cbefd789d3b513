// The tokens of a tokenizer.json: those of its model and those added to it, checked.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/model/added_tokens.h"
#include "runtime/model/byte_pairs.h"
#include "runtime/model/json_file.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

/// Borrows the file's strings.
class JsonVocabulary {
 public:
  /// `root`: the whole file. Throws DataError unless ids and tokens are unique and ids lie inside
  /// the embedding.
  JsonVocabulary(const JsonView& root, std::optional<int> embedding);

  /// The embedding's rows, or one more than the highest id.
  TokenId size() const { return static_cast<TokenId>(written_.size()); }
  /// Empty where an id has no token.
  std::string_view written(TokenId id) const { return written_[id]; }
  const std::vector<AddedToken>& added() const { return added_; }

  /// A token of the model, or -1.
  TokenId find_in_model(std::string_view written) const;
  /// Of the model or added, or -1.
  TokenId find(std::string_view written) const;

  /// `model.merges`, each of two tokens of the model that together spell a third: as strings
  /// "a b" or as pairs.
  BytePairs read_merges(const JsonView& merges) const;

 private:
  void read_model(const JsonView& tokens);
  void read_added(const JsonView& token);
  /// The place of an id that is inside the embedding and was not given before.
  std::string_view& place(const JsonView& where, std::int64_t id, std::string_view token);

  std::optional<int> embedding_;
  std::int64_t most_;  // ids are below
  std::vector<std::string_view> written_;
  std::vector<AddedToken> added_;
  std::size_t added_bytes_ = 0;
  std::unordered_map<std::string_view, TokenId> in_model_;
  std::unordered_map<std::string_view, TokenId> ids_added_;
};

}  // namespace longspan
