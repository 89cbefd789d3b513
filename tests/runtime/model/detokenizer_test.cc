#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/byte_alphabet.h"
#include "runtime/model/tokenizer.h"
#include "tests/runtime/model/random_text.h"
#include "tests/runtime/model/tiny_tokenizer.h"

namespace longspan {
namespace {

using test::byte_ids;

constexpr std::string_view kFffd = "\ufffd";

/// Every proper prefix of every character: the only bytes that may still become one.
std::set<std::string, std::less<>> proper_prefixes(std::set<std::string, std::less<>>& whole) {
  std::set<std::string, std::less<>> prefixes;
  for (std::uint32_t point = 0x80; point < 0x110000; ++point) {
    if (point >= 0xd800 && point < 0xe000) continue;
    std::string character;
    test::append_code_point(character, point);
    for (std::size_t n = 1; n < character.size(); ++n) prefixes.insert(character.substr(0, n));
    whole.insert(std::move(character));
  }
  return prefixes;
}

/// Unicode's recommendation word by word: the longest prefix that may become a character is
/// replaced as one, else a single byte.
class Oracle {
 public:
  std::string decode(std::string_view bytes) const {
    std::string text;
    while (!bytes.empty()) {
      const std::size_t taken = step(bytes, text);
      bytes.remove_prefix(taken);
    }
    return text;
  }

 private:
  std::size_t step(std::string_view bytes, std::string& text) const {
    std::size_t longest = 1;
    for (std::size_t n = 1; n <= 4 && n <= bytes.size(); ++n) {
      const std::string_view head = bytes.substr(0, n);
      if (whole_.contains(head) || (n == 1 && static_cast<unsigned char>(head[0]) < 0x80)) {
        text += head;
        return n;
      }
      if (prefixes_.contains(head)) longest = n;
    }
    text += kFffd;
    return longest;
  }

  std::set<std::string, std::less<>> whole_;
  std::set<std::string, std::less<>> prefixes_ = proper_prefixes(whole_);
};

/// Tokens that are bytes and random strings of two to five bytes.
Tokenizer torn_tokenizer(std::mt19937_64& random) {
  std::vector<std::string> tokens;
  std::set<std::string> seen;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(letter_of(static_cast<std::uint8_t>(byte)));
  }
  while (tokens.size() < 600) {
    std::string token;
    for (std::uint64_t n = 2 + random() % 4; n > 0; --n) {
      token += letter_of(static_cast<std::uint8_t>(0x70 + random() % 0x90));
    }
    if (seen.insert(token).second) tokens.push_back(token);
  }
  test::GgufWriter writer = test::tiny_tokenizer_writer();
  writer.set_strings("tokenizer.ggml.tokens", tokens);
  writer.remove("tokenizer.ggml.token_type");
  writer.set_strings("tokenizer.ggml.merges", {});
  return test::tokenizer_of(writer);
}

TEST(DetokenizerTest, AFewBytesAtATimeGiveTheWholeText) {
  std::mt19937_64 random(17);
  const Tokenizer tokenizer = torn_tokenizer(random);
  const Oracle oracle;
  for (int round = 0; round < 3000; ++round) {
    Detokenizer detokenizer(tokenizer);
    std::string bytes, text;
    std::vector<TokenId> ids;
    for (std::uint64_t n = random() % 12; n > 0; --n) {
      ids.push_back(static_cast<TokenId>(random() % 600));
      bytes += tokenizer.bytes(ids.back());
      text += detokenizer.push(ids.back());
      ASSERT_EQ(find_invalid_utf8(text), std::string::npos) << "half a character came out";
    }
    text += detokenizer.finish();
    ASSERT_EQ(text, oracle.decode(bytes));
    ASSERT_EQ(text, tokenizer.decode(ids));
  }
}

TEST(DetokenizerTest, TheUnicodeStandardsOwnExampleComesOut) {
  const Tokenizer tokenizer = test::tokenizer_of(test::tiny_tokenizer_writer());
  EXPECT_EQ(tokenizer.decode(byte_ids("a\xF1\x80\x80\xE1\x80\xC2"
                                      "b\x80"
                                      "c\x80\xBF"
                                      "d")),
            "a\ufffd\ufffd\ufffdb\ufffdc\ufffd\ufffdd");
  EXPECT_EQ(tokenizer.decode(byte_ids("\xC0\xAF\xED\xA0\x80\xF4\x90")),
            "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd");
}

TEST(DetokenizerTest, ACharacterAppearsWithItsLastByte) {
  const Tokenizer tokenizer = test::tokenizer_of(test::tiny_tokenizer_writer());
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.push(0xf0), "");
  EXPECT_EQ(detokenizer.push(0x9f), "");
  EXPECT_EQ(detokenizer.push(0x99), "");
  EXPECT_EQ(detokenizer.push(0x82), "\U0001F642");
  EXPECT_EQ(detokenizer.finish(), "");
}

TEST(DetokenizerTest, AnUnfinishedCharacterBecomesOneReplacementAtTheEnd) {
  const Tokenizer tokenizer = test::tokenizer_of(test::tiny_tokenizer_writer());
  Detokenizer detokenizer(tokenizer);
  detokenizer.push(0xf0);
  detokenizer.push(0x9f);
  EXPECT_EQ(detokenizer.finish(), kFffd);
  EXPECT_EQ(detokenizer.finish(), "");
  EXPECT_EQ(detokenizer.push('a'), "a");
}

TEST(Utf8Test, TheFirstWrongByteIsFoundWhereverItIs) {
  EXPECT_EQ(find_invalid_utf8(""), std::string::npos);
  for (std::size_t before = 0; before < 20; ++before) {
    const std::string text = std::string(before, 'x') + "\xff" + std::string(9, 'y');
    EXPECT_EQ(find_invalid_utf8(text), before);
    EXPECT_EQ(find_invalid_utf8(std::string(before, 'x') + "é\xe2\x82"), before + 2);
  }
}

}  // namespace
}  // namespace longspan
