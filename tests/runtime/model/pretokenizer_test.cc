#include "runtime/model/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/runtime/model/random_text.h"

namespace longspan {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::array kRules{PieceRule::kGpt2, PieceRule::kSmolLm, PieceRule::kLlama3,
                            PieceRule::kQwen2, PieceRule::kTekken};

std::vector<std::string_view> pieces(const Pretokenizer& pretokenizer, std::string_view text) {
  PieceReader reader(pretokenizer);
  reader.start(text);
  std::vector<std::string_view> pieces;
  while (const auto piece = reader.next()) pieces.push_back(*piece);
  return pieces;
}

TEST(PretokenizerTest, SmolLmCutsDigitsThenWords) {
  const Pretokenizer rule(PieceRule::kSmolLm);
  EXPECT_THAT(pieces(rule, ""), IsEmpty());
  EXPECT_THAT(pieces(rule, "I'll pay 10.5 €!"),
              ElementsAre("I", "'ll", " pay", " ", "1", "0", ".", "5", " €!"));
  EXPECT_THAT(pieces(rule, "a   b  1 \n\n c"),
              ElementsAre("a", "  ", " b", "  ", "1", " \n\n", " c"));
  EXPECT_THAT(pieces(rule, "'S 's x's"), ElementsAre("'", "S", " '", "s", " x", "'s"));
  EXPECT_THAT(pieces(rule, "½٣Ⅷ"), ElementsAre("½", "٣", "Ⅷ"));
}

TEST(PretokenizerTest, Gpt2KeepsNumbersTogether) {
  const Pretokenizer rule(PieceRule::kGpt2);
  EXPECT_THAT(pieces(rule, "in 2024  42"), ElementsAre("in", " 2024", " ", " 42"));
}

TEST(PretokenizerTest, MongolianVowelSeparatorIsNoWhiteSpace) {
  const Pretokenizer rule(PieceRule::kSmolLm);
  EXPECT_THAT(pieces(rule, " \u180e"), ElementsAre(" \u180e"));
  EXPECT_THAT(pieces(rule, " \u3000x"), ElementsAre(" ", "\u3000", "x"));
}

TEST(PretokenizerTest, WithAndWithoutJitTheCutsAreTheSameAndLeaveNothingOut) {
  std::mt19937_64 random(23);
  for (const PieceRule rule : kRules) {
    const Pretokenizer fast(rule), plain(rule, Pretokenizer::Engine::kInterpreter);
    EXPECT_FALSE(plain.jit());
    for (int i = 0; i < 1000; ++i) {
      const std::string text = test::random_text(random, static_cast<int>(random() % 60));
      const auto cut = pieces(fast, text);
      ASSERT_EQ(cut, pieces(plain, text));
      std::string joined;
      for (const std::string_view piece : cut) joined += piece;
      ASSERT_EQ(joined, text);
    }
  }
}

TEST(PretokenizerTest, Llama3TakesDigitsByThreesAndQwen2OneByOne) {
  const Pretokenizer llama(PieceRule::kLlama3), qwen(PieceRule::kQwen2);
  EXPECT_THAT(pieces(llama, "12345 I'LL x"), ElementsAre("123", "45", " I", "'LL", " x"));
  EXPECT_THAT(pieces(qwen, "12 !!\n\nx"), ElementsAre("1", "2", " !!\n\n", "x"));
  EXPECT_THAT(pieces(qwen, "a \n b"), ElementsAre("a", " \n", " b"));
}

TEST(PretokenizerTest, TekkenCutsBeforeCapitals) {
  const Pretokenizer rule(PieceRule::kTekken);
  EXPECT_THAT(pieces(rule, "aBCd ABC/"), ElementsAre("a", "BCd", " ABC", "/"));
}

TEST(PretokenizerTest, RulesAreKnownByTheirNamesAndTheirExpressions) {
  for (const PieceRule rule : kRules) EXPECT_EQ(find_piece_rule(name(rule)), rule);
  EXPECT_EQ(find_piece_rule("bloom"), std::nullopt);
  EXPECT_EQ(find_split_rule("\\s+"), std::nullopt);
}

/// All of these step back over everything once before another alternative fits: more steps than
/// PCRE2 allows by itself, in a time that grows with the text.
TEST(PretokenizerTest, MegabytesThatFitTheSecondAlternativeOnly) {
  for (const auto engine :
       {Pretokenizer::Engine::kJitIfPossible, Pretokenizer::Engine::kInterpreter}) {
    const Pretokenizer rule(PieceRule::kTekken, engine);
    EXPECT_EQ(pieces(rule, std::string(12 << 20, 'A')).size(), 1u);
    EXPECT_EQ(pieces(rule, std::string(12 << 20, ' ')).size(), 1u);
  }
}

TEST(PretokenizerTest, MegabytesOfOneKindNeedNoStack) {
  for (const auto engine :
       {Pretokenizer::Engine::kJitIfPossible, Pretokenizer::Engine::kInterpreter}) {
    const Pretokenizer rule(PieceRule::kSmolLm, engine);
    for (const std::string_view unit : {"a", " ", "\n", "é", "漢", "!", " \n"}) {
      std::string text;
      while (text.size() < (8 << 20)) text += unit;
      EXPECT_EQ(pieces(rule, text).size(), 1u) << unit;
      text += "x";  // the look-ahead must give a character back
      EXPECT_LE(pieces(rule, text).size(), 3u) << unit;
    }
  }
}

}  // namespace
}  // namespace longspan
