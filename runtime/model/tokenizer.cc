#include "runtime/model/tokenizer.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/byte_pairs.h"
#include "runtime/model/gguf.h"
#include "runtime/model/pretokenizer.h"
#include "runtime/model/printable.h"
#include "runtime/model/special_tokens.h"
#include "runtime/model/vocabulary.h"

namespace longspan {
namespace {

/// The tokens of one text so far. Belongs to one call of encode().
class Encoding {
 public:
  Encoding(const Pretokenizer& pretokenizer, const BytePairs& pairs)
      : pieces_(pretokenizer), pairs_(pairs) {}

  void append(TokenId id) { tokens_.push_back(id); }
  void append(std::string_view text);
  std::vector<TokenId> take() { return std::move(tokens_); }

 private:
  /// Where in tokens_ a piece was encoded before.
  struct Earlier {
    std::uint32_t begin;
    std::uint32_t count;
  };
  // Words repeat, long pieces hardly: they would only fill the table.
  static constexpr std::size_t kLongestKept = 32;
  static constexpr std::size_t kMostKept = 1 << 16;

  void append_piece(std::string_view piece);

  PieceReader pieces_;
  const BytePairs& pairs_;
  BytePairs::Workspace workspace_;
  std::unordered_map<std::string_view, Earlier> earlier_;
  std::vector<TokenId> tokens_;
};

void Encoding::append(std::string_view text) {
  pieces_.start(text);
  while (const auto piece = pieces_.next()) append_piece(*piece);
}

void Encoding::append_piece(std::string_view piece) {
  const auto known = earlier_.find(piece);
  if (known != earlier_.end()) {
    const auto [begin, count] = known->second;
    for (std::uint32_t i = 0; i < count; ++i) tokens_.push_back(TokenId{tokens_[begin + i]});
    return;
  }
  const std::size_t begin = tokens_.size();
  pairs_.append_tokens(piece, workspace_, tokens_);
  if (piece.size() > kLongestKept || earlier_.size() >= kMostKept) return;
  earlier_.emplace(piece, Earlier{static_cast<std::uint32_t>(begin),
                                  static_cast<std::uint32_t>(tokens_.size() - begin)});
}

PieceRule require_piece_rule(const GgufFile& file) {
  const std::string model = file.require_string("tokenizer.ggml.model");
  if (model != "gpt2") {
    throw DataError(
        str("{}: tokenizer.ggml.model is '{}'; longspan reads byte-level tokenizers "
            "('gpt2') only",
            file.path().string(), printable(model)));
  }
  const std::string pre = file.require_string("tokenizer.ggml.pre");
  if (const auto rule = find_piece_rule(pre)) return *rule;
  throw DataError(str("{}: tokenizer.ggml.pre is '{}'; longspan knows: {}", file.path().string(),
                      printable(pre), kPieceRuleNames));
}

void check_text(std::string_view text) {
  if (text.size() > std::numeric_limits<std::int32_t>::max()) {
    throw DataError(str("a text of {} bytes; at most 2147483647 can be encoded", text.size()));
  }
  const std::size_t wrong = find_invalid_utf8(text);
  if (wrong == std::string_view::npos) return;
  throw DataError(str("the text is not UTF-8: byte {} is 0x{:02x}; convert it to UTF-8 first",
                      wrong, static_cast<unsigned char>(text[wrong])));
}

}  // namespace

std::string DroppedBytes::warning() const {
  return str(
      "{} bytes of the text have no token and were dropped; the first is 0x{:02x} at byte {}",
      count, first, first_offset);
}

struct Tokenizer::Parts {
  Parts(const GgufFile& file, PieceRule rule, const Vocabulary& vocabulary)
      : pretokenizer(rule),
        pre(file.require_string("tokenizer.ggml.pre")),
        bytes(vocabulary.token_bytes()),
        special(vocabulary.special_tokens()),
        pairs(vocabulary.byte_pairs()),
        end_of_text(vocabulary.find_id("tokenizer.ggml.eos_token_id")) {
    if (!file.find_bool("tokenizer.ggml.add_bos_token").value_or(false)) return;
    begin_of_text = vocabulary.find_id("tokenizer.ggml.bos_token_id");
    if (begin_of_text >= 0) return;
    throw DataError(
        str("{}: tokenizer.ggml.add_bos_token is set, but tokenizer.ggml.bos_token_id "
            "is missing: convert the model again",
            file.path().string()));
  }

  Parts(int vocabulary, const std::filesystem::path& model)
      : pretokenizer(PieceRule::kGpt2), special({}), pairs(no_letters(), 0), ids_only_of(model) {
    for (int id = 0; id < vocabulary; ++id) bytes.push_back(str("<{}>", id));
  }

  static BytePairs::Letters no_letters() {
    BytePairs::Letters letters;
    letters.fill(-1);
    return letters;
  }

  void note_dropped(std::string_view text, std::size_t offset, DroppedBytes& dropped) const {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (pairs.has_letter(text[i])) continue;
      if (dropped.count++ > 0) continue;
      dropped.first = static_cast<std::uint8_t>(text[i]);
      dropped.first_offset = offset + i;
    }
  }

  Pretokenizer pretokenizer;
  std::string pre;
  std::vector<std::string> bytes;  // by id
  SpecialTokens special;
  BytePairs pairs;
  TokenId end_of_text = -1;
  TokenId begin_of_text = -1;  // -1: none is added
  std::filesystem::path ids_only_of;
};

Tokenizer::Tokenizer(const GgufFile& file) {
  const PieceRule rule = require_piece_rule(file);  // first: of another kind, nothing else fits
  parts_ = std::make_unique<Parts>(file, rule, Vocabulary(file));
}

Tokenizer::Tokenizer(int vocabulary, const std::filesystem::path& model)
    : parts_(std::make_unique<Parts>(vocabulary, model)) {}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, DroppedBytes* dropped) const {
  if (!parts_->ids_only_of.empty()) {
    throw UsageError(
        str("{}: longspan does not read the tokenizer of a model folder; give the "
            "prompt as token ids (--prompt-ids FILE)",
            parts_->ids_only_of.string()));
  }
  check_text(text);
  Encoding encoding(parts_->pretokenizer, parts_->pairs);
  if (parts_->begin_of_text >= 0) encoding.append(parts_->begin_of_text);
  std::size_t at = 0;
  while (at < text.size()) {
    const auto special = parts_->special.find(text, at);
    const std::size_t end = special ? special->begin : text.size();
    const std::string_view plain = text.substr(at, end - at);
    encoding.append(plain);
    if (dropped) parts_->note_dropped(plain, at, *dropped);
    if (!special) break;
    encoding.append(special->id);
    at = special->end;
  }
  return encoding.take();
}

std::string_view Tokenizer::bytes(TokenId id) const {
  expects(id >= 0 && id < vocabulary(), "a token id is inside the vocabulary");
  return parts_->bytes[id];
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  Detokenizer detokenizer(*this);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.push(id);
  return text += detokenizer.finish();
}

int Tokenizer::vocabulary() const { return static_cast<int>(parts_->bytes.size()); }

TokenId Tokenizer::end_of_text() const { return parts_->end_of_text; }

std::string Tokenizer::description() const {
  if (!parts_->ids_only_of.empty()) return str("ids only, {} tokens", vocabulary());
  return str("gpt2 ({}), {} tokens, {} merges", parts_->pre, vocabulary(), parts_->pairs.merges());
}

}  // namespace longspan
