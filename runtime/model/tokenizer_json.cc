#include "runtime/model/tokenizer_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "comm/str.h"
#include "runtime/model/byte_alphabet.h"
#include "runtime/model/folder_ends.h"
#include "runtime/model/json_file.h"
#include "runtime/model/json_text_rules.h"
#include "runtime/model/json_vocabulary.h"
#include "runtime/model/printable.h"
#include "runtime/model/tokenizer_rules.h"
#include "runtime/model/utf8.h"

namespace longspan {
namespace {

using nlohmann::json;

/// Options of BPE that would change what it does, and that no family uses.
void refuse_other_options(const JsonView& model) {
  const std::string& type = model.at("type").text();
  if (type != "BPE") {
    model.at("type").fail(str("is '{}'; longspan knows BPE", printable(type)));
  }
  for (const auto* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto value = model.find(affix);
    if (value && !value->text().empty()) value->fail("is set, which longspan does not do");
  }
  const auto dropout = model.find("dropout");
  if (dropout && dropout->value() != json(0.0)) {
    dropout->fail("is set, which is for training: remove the key");
  }
}

/// What stands in for text without tokens, if anything can lack them.
void read_unknown(const JsonView& model, const JsonVocabulary& vocabulary, Letters& letters) {
  const auto unknown = model.find("unk_token");
  if (!unknown || (letters.unit() == Letters::Unit::kByte && letters.has_all_bytes())) return;
  const TokenId id = vocabulary.find_in_model(unknown->text());
  if (id < 0) unknown->fail(str("is '{}', no token of the model", printable(unknown->text())));
  letters.set_unknown(id, model.flag_or("fuse_unk", false));
}

Letters byte_letters(const JsonView& model, const JsonVocabulary& vocabulary) {
  Letters letters(Letters::Unit::kByte);
  for (int byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<std::uint8_t>(byte);
    letters.set_byte(value, vocabulary.find_in_model(letter_of(value)));
  }
  if (model.flag_or("byte_fallback", false) && !letters.has_all_bytes()) {
    model.at("byte_fallback").fail("is set beside ByteLevel, where bytes are letters already");
  }
  return letters;
}

Letters character_letters(const JsonView& model, const JsonVocabulary& vocabulary) {
  Letters letters(Letters::Unit::kCharacter);
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view written = vocabulary.written(id);
    if (written.empty() || first_utf8(written).bytes != written.size()) continue;
    if (vocabulary.find_in_model(written) == id) letters.set_character(written, id);
  }
  if (!model.flag_or("byte_fallback", false)) return letters;
  for (int byte = 0; byte < 256; ++byte) {
    letters.set_byte(static_cast<std::uint8_t>(byte),
                     vocabulary.find_in_model(str("<0x{:02X}>", byte)));
  }
  return letters;
}

PieceTokens whole_pieces(const JsonVocabulary& vocabulary, Letters::Unit unit) {
  PieceTokens pieces;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view written = vocabulary.written(id);
    if (written.empty() || vocabulary.find_in_model(written) != id) continue;
    const auto piece = unit == Letters::Unit::kByte ? bytes_of(written) : std::string(written);
    if (piece) pieces.emplace(*piece, id);
  }
  return pieces;
}

std::string kind_of(const JsonPieces& pieces) {
  if (pieces.rule) return str("BPE ({})", name(*pieces.rule));
  return pieces.unit == Letters::Unit::kByte ? "BPE (bytes)" : "BPE (characters)";
}

/// `eos_token` of tokenizer_config.json: a string or an added token.
void read_configured_end(const std::filesystem::path& path, const JsonVocabulary& vocabulary,
                         std::vector<TokenId>& ends) {
  const json file = read_json_file(path);
  const auto token = JsonView(file, path).find("eos_token");
  if (!token) return;
  const JsonView written = token->value().is_object() ? token->at("content") : *token;
  const TokenId id = vocabulary.find(written.text());
  if (id < 0) {
    written.fail(str("is '{}', no token of tokenizer.json", printable(written.text())));
  }
  ends.push_back(id);
}

std::vector<TokenId> read_ends(const std::filesystem::path& folder,
                               const JsonVocabulary& vocabulary) {
  std::vector<TokenId> ends;
  const auto configured = folder / "tokenizer_config.json";
  if (exists(configured)) read_configured_end(configured, vocabulary, ends);
  for (const TokenId end : folder_ends(folder, vocabulary.size())) {
    if (std::ranges::find(ends, end) == ends.end()) ends.push_back(end);
  }
  return ends;
}

}  // namespace

Tokenizer load_tokenizer_json(const std::filesystem::path& path, std::optional<int> embedding) {
  const json file = read_json_file(path);
  const JsonView root(file, path);
  const JsonView model = root.at("model");
  refuse_other_options(model);
  const JsonVocabulary vocabulary(root, embedding);
  TokenizerRules rules;
  rules.added = vocabulary.added();
  rules.normalizer = read_normalizer(root);
  const JsonPieces pieces = read_pieces(root, rules.normalizer);
  rules.kind = kind_of(pieces);
  rules.piece_rule = pieces.rule;
  rules.word_marks = pieces.word_marks;
  rules.letters = pieces.unit == Letters::Unit::kByte ? byte_letters(model, vocabulary)
                                                      : character_letters(model, vocabulary);
  read_unknown(model, vocabulary, rules.letters);
  rules.pairs = vocabulary.read_merges(model.at("merges"));
  if (model.flag_or("ignore_merges", false)) {
    rules.whole_pieces = whole_pieces(vocabulary, pieces.unit);
  }
  auto [before, after] = read_borders(root, vocabulary);
  rules.before = std::move(before);
  rules.after = std::move(after);
  const JsonDecoder decoder = read_decoder(root);
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    rules.bytes.push_back(decoder.bytes_of_token(vocabulary.written(id), false));
  }
  for (const AddedToken& token : rules.added) {  // written as they are found
    rules.bytes[token.id] = decoder.bytes_of_token(
        token.normalized ? rules.normalizer.apply(token.written) : token.written, true);
  }
  rules.drops_first_space = decoder.drops_first_space;
  rules.ends = read_ends(path.parent_path(), vocabulary);
  return Tokenizer(std::move(rules));
}

}  // namespace longspan
