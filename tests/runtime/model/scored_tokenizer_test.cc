// GGUF tokenizers of the kind "llama": SentencePiece's, with scores in place of merges.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/tokenizer.h"
#include "tests/runtime/model/tiny_tokenizer.h"

namespace longspan {
namespace {

using test::GgufWriter;
using test::tokenizer_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr std::int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;

struct Piece {
  std::string written;
  double score;
  std::int32_t kind = kNormal;
};

constexpr TokenId kUnk = 0, kBos = 1, kEos = 2;
/// <unk> <s> </s>, the bytes if wanted, then `pieces`.
GgufWriter writer_of(const std::vector<Piece>& pieces, bool bytes = false) {
  std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> kinds{kUnknown, kControl, kControl};
  std::string scores(3 * sizeof(float), '\0');
  const auto add = [&](const Piece& piece) {
    tokens.push_back(piece.written);
    kinds.push_back(piece.kind);
    scores += test::encoded(static_cast<float>(piece.score));
  };
  for (int byte = 0; bytes && byte < 256; ++byte) add({str("<0x{:02X}>", byte), 0, kByte});
  for (const Piece& piece : pieces) add(piece);
  GgufWriter writer;
  writer.set_string("tokenizer.ggml.model", "llama");
  writer.set_strings("tokenizer.ggml.tokens", tokens);
  writer.set_int32s("tokenizer.ggml.token_type", kinds);
  constexpr std::uint32_t kArray = 9, kFloat32 = 6;
  writer.set_raw("tokenizer.ggml.scores", kArray,
                 test::encoded(kFloat32) + test::encoded(std::uint64_t{tokens.size()}) + scores);
  writer.set_uint32("tokenizer.ggml.bos_token_id", kBos);
  writer.set_uint32("tokenizer.ggml.eos_token_id", kEos);
  return writer;
}

/// a b c ab bc abc ▁ ▁a, from id 3 on.
std::vector<Piece> letters() {
  return {{"a", -10},
          {"b", -11},
          {"c", -12},
          {"ab", -2},
          {"bc", -1},
          {"abc", -3},
          {"\u2581", -9},
          {"\u2581"
           "a",
           -4}};
}
constexpr TokenId kA = 3, kB = 4, kC = 5, kAb = 6, kBc = 7, kAbc = 8, kMark = 9, kMarkA = 10;

TEST(ScoredTokenizerTest, ThePieceOfTheHighestScoreIsFormedFirst) {
  GgufWriter writer = writer_of(letters());
  writer.set_bool("tokenizer.ggml.add_space_prefix", false);
  const Tokenizer tokenizer = tokenizer_of(writer);
  EXPECT_THAT(tokenizer.encode("ab"), ElementsAre(kBos, kAb));
  EXPECT_THAT(tokenizer.encode("abc"), ElementsAre(kBos, kAbc));  // a + bc
  EXPECT_THAT(tokenizer.encode("abab"), ElementsAre(kBos, kAb, kAb));
  EXPECT_THAT(tokenizer.encode("a a"), ElementsAre(kBos, kA, kMarkA));
  EXPECT_EQ(tokenizer.description(), "llama (scores), 11 tokens, 5 merges");
}

TEST(ScoredTokenizerTest, OfEqualScoresTheLeftmostGoesFirst) {
  GgufWriter writer = writer_of({{"a", -5}, {"b", -5}, {"ab", -1}, {"ba", -1}});
  writer.set_bool("tokenizer.ggml.add_space_prefix", false);
  EXPECT_THAT(tokenizer_of(writer).encode("aba"), ElementsAre(kBos, 5, 3));
  EXPECT_THAT(tokenizer_of(writer).encode("bab"), ElementsAre(kBos, 6, 4));
}

TEST(ScoredTokenizerTest, ASpaceIsPutInFrontAndTakenAway) {
  const Tokenizer tokenizer = tokenizer_of(writer_of(letters()));
  EXPECT_THAT(tokenizer.encode("a"), ElementsAre(kBos, kMarkA));
  EXPECT_THAT(tokenizer.encode(" a"), ElementsAre(kBos, kMark, kMarkA));
  EXPECT_THAT(tokenizer.encode(""), ElementsAre(kBos));
  // After a special token as well, as in llama.cpp.
  EXPECT_THAT(tokenizer.encode("a</s>a"), ElementsAre(kBos, kMarkA, kEos, kMarkA));
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{kMarkA, kMarkA}), "a a");
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{kMark, kMarkA}), " a");
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{kBos, kMarkA}), "<s> a");
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{kB, kMarkA}), "b a");
}

TEST(ScoredTokenizerTest, AnAnswerKeepsItsFirstSpace) {
  const Tokenizer tokenizer = tokenizer_of(writer_of(letters()));
  Detokenizer answer(tokenizer, Detokenizer::Start::kContinuation);
  EXPECT_EQ(answer.push(kMarkA), " a");
  Detokenizer text(tokenizer);
  EXPECT_EQ(text.push(kMarkA), "a");
  EXPECT_EQ(text.push(kMarkA), " a");
}

TEST(ScoredTokenizerTest, WhatHasNoTokenIsWrittenInBytesOrUnknown) {
  GgufWriter with_bytes = writer_of({{"\u2581", -1}}, true);
  constexpr TokenId kByte0 = 3;
  const Tokenizer bytes = tokenizer_of(with_bytes);
  EXPECT_THAT(bytes.encode("é"), ElementsAre(kBos, kByte0 + 256, kByte0 + 0xc3, kByte0 + 0xa9));
  EXPECT_EQ(bytes.decode(bytes.encode("é🙂")), "<s> é🙂");
  Detokenizer stream(bytes);
  EXPECT_EQ(stream.push(kByte0 + 0xc3), "");
  EXPECT_EQ(stream.push(kByte0 + 0xa9), "é");

  const Tokenizer unknown = tokenizer_of(writer_of(letters()));
  EXPECT_THAT(unknown.encode("éüa"), ElementsAre(kBos, kMark, kUnk, kA));  // one for neighbours
}

TEST(ScoredTokenizerTest, UserDefinedTokensAreFoundAsTheyAreWritten) {
  auto pieces = letters();
  pieces.push_back({"<turn>", 0, kUserDefined});
  const TokenId turn = kMarkA + 1;
  GgufWriter writer = writer_of(pieces);
  writer.set_bool("tokenizer.ggml.add_space_prefix", false);
  EXPECT_THAT(tokenizer_of(writer).encode("c<turn>c"), ElementsAre(kBos, kC, turn, kC));
}

TEST(ScoredTokenizerTest, ATokenizerThatContradictsItselfIsRefused) {
  const auto changed = [](const std::function<void(GgufWriter&)>& change) {
    GgufWriter writer = writer_of(letters());
    change(writer);
    return writer;
  };
  constexpr std::uint32_t kArray = 9, kFloat32 = 6;
  const auto scores = [&](const std::vector<float>& values) {
    return changed([&](GgufWriter& w) {
      std::string raw = test::encoded(kFloat32) + test::encoded(std::uint64_t{values.size()});
      for (const float value : values) raw += test::encoded(value);
      w.set_raw("tokenizer.ggml.scores", kArray, raw);
    });
  };
  std::vector<float> one_nan(11, 0);
  one_nan[7] = std::numeric_limits<float>::quiet_NaN();
  const auto as_byte = [](const std::string& written) {
    return writer_of({{"<0x41>", 0, kByte}, {written, 0, kByte}});
  };
  const std::vector<std::pair<GgufWriter, std::string>> cases{
      {changed([](GgufWriter& w) { w.remove("tokenizer.ggml.scores"); }), "scores is missing"},
      {scores({1, 2}), "scores has 2 entries for 11 tokens"},
      {scores(one_nan), "gives token 7 the score nan"},
      {as_byte("<0x4>"), "has '<0x4>' as a byte, 4"},
      {as_byte("<0x+4>"), "has '<0x+4>' as a byte"},
      {as_byte("<0xG1>"), "has '<0xG1>' as a byte"},
      {writer_of({{"<0x4a>", 0, kByte}, {"<0x4A>", 0, kByte}}), "has byte 74 twice, as 3 and 4"},
  };
  for (const auto& [writer, message] : cases) {
    EXPECT_THAT([&] { tokenizer_of(writer); }, ThrowsMessage<DataError>(HasSubstr(message)));
  }
}

}  // namespace
}  // namespace longspan
