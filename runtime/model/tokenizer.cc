#include "runtime/model/tokenizer.h"

#include <deque>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/gguf_tokenizer.h"
#include "runtime/model/tokenizer_rules.h"

namespace longspan {
namespace {

/// The tokens of one text so far. Belongs to one call of encode().
class Encoding {
 public:
  Encoding(const TokenizerRules& rules, const std::optional<Pretokenizer>& pretokenizer)
      : rules_(rules) {
    if (pretokenizer) pieces_.emplace(*pretokenizer);
  }

  void append(TokenId id) { tokens_.push_back(id); }
  void append(std::span<const TokenId> ids) {
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  }
  /// Plain text, normalised and marked, which stays where it is as long as this object.
  void append(std::string_view text);
  /// `text`, and where it stays as long as this object.
  std::string_view keep(std::string text) { return kept_.emplace_back(std::move(text)); }
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

  void append_marked_words(std::string_view text);
  void append_piece(std::string_view piece);
  void merge(std::string_view piece);

  const TokenizerRules& rules_;
  std::optional<PieceReader> pieces_;
  std::deque<std::string> kept_;
  std::vector<TokenId> letters_;
  BytePairs::Workspace workspace_;
  std::unordered_map<std::string_view, Earlier> earlier_;
  std::vector<TokenId> tokens_;
};

void Encoding::append(std::string_view text) {
  if (text.empty()) return;
  if (rules_.word_marks && rules_.word_marks->split) return append_marked_words(text);
  if (!pieces_) return append_piece(text);
  pieces_->start(text);
  while (const auto piece = pieces_->next()) append_piece(*piece);
}

void Encoding::append_marked_words(std::string_view text) {
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, text.find(kWordMark, 1));
    append_piece(piece);
    text.remove_prefix(piece.size());
  }
}

void Encoding::append_piece(std::string_view piece) {
  const auto known = earlier_.find(piece);
  if (known != earlier_.end()) {
    const auto [begin, count] = known->second;
    for (std::uint32_t i = 0; i < count; ++i) tokens_.push_back(TokenId{tokens_[begin + i]});
    return;
  }
  const std::size_t begin = tokens_.size();
  merge(piece);
  if (piece.size() > kLongestKept || earlier_.size() >= kMostKept) return;
  earlier_.emplace(piece, Earlier{static_cast<std::uint32_t>(begin),
                                  static_cast<std::uint32_t>(tokens_.size() - begin)});
}

void Encoding::merge(std::string_view piece) {
  if (!rules_.whole_pieces.empty()) {
    const auto whole = rules_.whole_pieces.find(piece);
    if (whole != rules_.whole_pieces.end()) return append(whole->second);
  }
  rules_.letters.spell(piece, letters_);
  rules_.pairs.append_merged(letters_, workspace_, tokens_);
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
  explicit Parts(TokenizerRules file_rules) : rules(std::move(file_rules)) {
    if (rules.piece_rule) pretokenizer.emplace(*rules.piece_rule);
    std::vector<AddedToken> raw, normalized;
    for (AddedToken& token : std::exchange(rules.added, {})) {
      if (token.normalized) token.written = rules.normalizer.apply(token.written);
      if (token.written.empty()) continue;  // nothing is left to find
      (token.normalized ? normalized : raw).push_back(std::move(token));
    }
    added_to_raw = AddedTokens(std::move(raw));
    added_to_normalized = AddedTokens(std::move(normalized));
  }

  /// Text between tokens, from byte `offset` of the whole.
  void append(std::string_view text, std::size_t offset, Encoding& encoding,
              DroppedBytes* dropped) const {
    if (!rules.normalizer.empty()) text = encoding.keep(rules.normalizer.apply(text));
    for (const TextPart& part : added_to_normalized.parts(text)) {
      if (part.token >= 0) {
        encoding.append(part.token);
        continue;
      }
      std::string_view plain = part.text;
      const std::size_t begin = offset + static_cast<std::size_t>(plain.data() - text.data());
      if (rules.word_marks) plain = encoding.keep(marked(plain, begin == 0));
      encoding.append(plain);
      if (dropped) rules.letters.note_dropped(plain, begin, *dropped);
    }
  }

  /// With word marks. `begins`: the whole text does, with this.
  std::string marked(std::string_view text, bool begins) const {
    std::string out = replaced(text, " ", kWordMark);
    const bool wants_first = rules.word_marks->first == WordMarks::First::kAlways ||
                             (rules.word_marks->first == WordMarks::First::kAtBegin && begins);
    if (wants_first && !out.starts_with(kWordMark)) out.insert(0, kWordMark);
    return out;
  }

  TokenizerRules rules;
  std::optional<Pretokenizer> pretokenizer;
  AddedTokens added_to_raw;
  AddedTokens added_to_normalized;
};

Tokenizer::Tokenizer(const GgufFile& file) : Tokenizer(read_gguf_tokenizer(file)) {}

Tokenizer::Tokenizer(TokenizerRules rules) : parts_(std::make_unique<Parts>(std::move(rules))) {}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, DroppedBytes* dropped) const {
  if (!parts_->rules.ids_only_of.empty()) {
    throw UsageError(
        str("{} has no tokenizer.json; copy the model's there, or give the prompt as "
            "token ids (--prompt-ids FILE)",
            parts_->rules.ids_only_of.string()));
  }
  check_text(text);
  Encoding encoding(parts_->rules, parts_->pretokenizer);
  encoding.append(parts_->rules.before);
  for (const TextPart& part : parts_->added_to_raw.parts(text)) {
    if (part.token >= 0) {
      encoding.append(part.token);
    } else {
      const auto offset = static_cast<std::size_t>(part.text.data() - text.data());
      parts_->append(part.text, offset, encoding, dropped);
    }
  }
  encoding.append(parts_->rules.after);
  return encoding.take();
}

std::string_view Tokenizer::bytes(TokenId id) const {
  expects(id >= 0 && id < vocabulary(), "a token id is inside the vocabulary");
  return parts_->rules.bytes[id];
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  Detokenizer detokenizer(*this);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.push(id);
  return text += detokenizer.finish();
}

int Tokenizer::vocabulary() const { return static_cast<int>(parts_->rules.bytes.size()); }

TokenId Tokenizer::end_of_text() const { return ends().empty() ? -1 : ends().front(); }

std::span<const TokenId> Tokenizer::ends() const { return parts_->rules.ends; }

bool Tokenizer::drops_first_space() const { return parts_->rules.drops_first_space; }

std::string Tokenizer::description() const {
  if (!parts_->rules.ids_only_of.empty()) return str("ids only, {} tokens", vocabulary());
  return str("{}, {} tokens, {} merges", parts_->rules.kind, vocabulary(),
             parts_->rules.pairs.merges());
}

}  // namespace longspan
