// Text of any content becomes tokens and text again, streamed without half a character, in a time
// that its length bounds. The first byte of the input chooses the family.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/byte_alphabet.h"
#include "runtime/model/text_normalizer.h"
#include "runtime/model/tokenizer.h"
#include "runtime/model/tokenizer_rules.h"
#include "tests/fuzz/processor_time.h"
#include "tests/fuzz/require.h"

namespace longspan {
namespace {

constexpr std::array<std::string_view, 12> kWords{"a",   "aa",   "aaaa", "  ", "    ", "he",
                                                  "the", "\n\n", "!!",   "12", "é",    "漢"};

TokenizerRules new_rules(Letters::Unit unit) {
  TokenizerRules rules{.kind = "fuzzed", .letters = Letters(unit)};
  for (int byte = 0; byte < 256; ++byte) {
    rules.letters.set_byte(static_cast<std::uint8_t>(byte), byte);
    rules.bytes.emplace_back(1, static_cast<char>(byte));
  }
  return rules;
}

/// Each word is formed byte by byte.
Tokenizer of_bytes(PieceRule rule, bool composes) {
  TokenizerRules rules = new_rules(Letters::Unit::kByte);
  rules.piece_rule = rule;
  if (composes) rules.normalizer = TextNormalizer({ComposeText{}});
  rules.pairs = BytePairs(64);
  std::uint32_t rank = 0;
  for (const std::string_view word : kWords) {
    TokenId left = static_cast<std::uint8_t>(word.front());
    for (std::size_t i = 1; i < word.size(); ++i) {
      const auto merged = static_cast<TokenId>(rules.bytes.size());
      const bool fresh = rules.pairs.add(left, static_cast<std::uint8_t>(word[i]), {rank, merged});
      if (!fresh) break;
      ++rank;
      rules.bytes.emplace_back(word.substr(0, i + 1));
      left = merged;
    }
  }
  rules.added = {{.id = 'x', .written = "<|x|>"},
                 {.id = 'y', .written = "yy", .takes_left = true, .takes_right = true},
                 {.id = 'z', .written = "zz", .normalized = true, .only_as_word = true}};
  return Tokenizer(std::move(rules));
}

Tokenizer of_characters() {
  TokenizerRules rules = new_rules(Letters::Unit::kCharacter);
  rules.normalizer = TextNormalizer(
      {PrependText{std::string(kWordMark)}, ReplaceText{" ", std::string(kWordMark)}});
  rules.drops_first_space = true;
  const auto mark = static_cast<TokenId>(rules.bytes.size());
  rules.letters.set_character(kWordMark, mark);
  rules.bytes.emplace_back(" ");
  rules.pairs = BytePairs(2);
  (void)rules.pairs.add(mark, mark, {0, mark + 1});
  (void)rules.pairs.add(mark + 1, mark + 1, {1, mark + 2});
  rules.bytes.emplace_back("  ");
  rules.bytes.emplace_back("    ");
  return Tokenizer(std::move(rules));
}

const std::vector<Tokenizer>& tokenizers() {
  static const std::vector<Tokenizer> all = [] {
    std::vector<Tokenizer> made;
    for (const PieceRule rule : {PieceRule::kGpt2, PieceRule::kSmolLm, PieceRule::kLlama3,
                                 PieceRule::kQwen2, PieceRule::kTekken}) {
      made.push_back(of_bytes(rule, rule == PieceRule::kQwen2));
    }
    made.push_back(of_characters());
    return made;
  }();
  return all;
}

void check(const Tokenizer& tokenizer, std::string_view text) {
  const double start = test::processor_seconds();
  const std::vector<TokenId> ids = tokenizer.encode(text);
  const double taken = test::processor_seconds() - start;
  // A thousand times what it should take; what is quadratic takes more.
  test::require(taken < 1 + static_cast<double>(text.size()) * 1e-4, "encoding took too long");
  Detokenizer detokenizer(tokenizer);
  for (const TokenId id : ids) {
    test::require(find_invalid_utf8(detokenizer.push(id)) == std::string::npos, "half a character");
  }
  test::require(detokenizer.finish().empty(), "a text ended inside a character");
}

}  // namespace
}  // namespace longspan

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (longspan::find_invalid_utf8(text) != std::string_view::npos) return 0;
  const auto& all = longspan::tokenizers();
  longspan::check(all[data[0] % all.size()], text);
  return 0;
}
