#include "runtime/model/unicode.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>

namespace longspan {
namespace {

TEST(UnicodeTest, CharactersAreComposed) {
  EXPECT_EQ(composed(""), "");
  EXPECT_EQ(composed("plain é"), "plain é");
  EXPECT_EQ(composed("e\u0301"), "\u00e9");
  EXPECT_EQ(composed("\u212b\u2126"), "\u00c5\u03a9");  // signs for letters
  EXPECT_EQ(composed("\u1100\u1161\u11a8"), "\uac01");  // Hangul
  EXPECT_EQ(composed("\u0958"), "\u0915\u093c");        // composes, but may not
  EXPECT_EQ(composed("\ufb01\u00b2"), "\ufb01\u00b2");  // compatibility forms stay
}

TEST(UnicodeTest, MarksAreOrderedByClassAndComposeWhereNothingBlocks) {
  EXPECT_EQ(composed("a\u0301\u0323"), "\u1ea1\u0301");
  EXPECT_EQ(composed("a\u0301\u0308"), "\u00e1\u0308");  // of one class: in the text's order
  EXPECT_EQ(composed("\u0301\u0323"), "\u0323\u0301");   // without a letter
  EXPECT_EQ(composed("a\u034f\u0301"), "a\u034f\u0301");
}

TEST(UnicodeTest, AMegabyteOfMarksOutOfOrderTakesNoQuadraticTime) {
  std::string text = "a";
  while (text.size() < (1 << 20)) text += "\u0301\u0323";
  const auto start = std::chrono::steady_clock::now();
  const std::string out = composed(text);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_TRUE(out.starts_with("\u1ea1\u0323"));
  EXPECT_TRUE(out.ends_with("\u0301\u0301"));
}

TEST(UnicodeTest, WordsAndSpacesAreAsInRegularExpressions) {
  for (const char32_t word : std::u32string_view(U"aZ0_é漢١\u0301\u200d\u203f\u24b6\u2160")) {
    EXPECT_TRUE(is_word_character(word)) << std::hex << std::uint32_t{word};
  }
  for (const char32_t other : {U' ', U'-', U'<', U'\u00b2', U'\u2581', U'\u00a0', U'\U0001f642'}) {
    EXPECT_FALSE(is_word_character(other)) << std::hex << std::uint32_t{other};
  }
  for (const char32_t space : {U' ', U'\t', U'\r', U'\u0085', U'\u00a0', U'\u2003', U'\u3000'}) {
    EXPECT_TRUE(is_white_space(space)) << std::hex << std::uint32_t{space};
  }
  for (const char32_t other : {U'a', U'\u180e', U'\u200b', U'\ufeff', U'\x1c'}) {
    EXPECT_FALSE(is_white_space(other)) << std::hex << std::uint32_t{other};
  }
}

}  // namespace
}  // namespace longspan
