#include "launch/batch/batch_input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "comm/error.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::Pair;

class BatchInputTest : public testing::Test {
 protected:
  std::string file(const std::string& text) {
    const auto path = directory_ / "in.jsonl";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  /// Number and text of each line.
  std::vector<std::pair<std::int64_t, std::string>> lines(const std::string& text) {
    std::vector<std::pair<std::int64_t, std::string>> found;
    BatchInput input(file(text));
    while (const auto line = input.next()) found.emplace_back(line->number, line->text);
    EXPECT_FALSE(input.next());
    return found;
  }

  test::TemporaryDirectory directory_;
};

TEST_F(BatchInputTest, LinesHaveTheNumbersOfTheFile) {
  EXPECT_THAT(lines("a\nb\n"), ElementsAre(Pair(1, "a"), Pair(2, "b")));
  EXPECT_THAT(lines("a\r\nb"), ElementsAre(Pair(1, "a"), Pair(2, "b"))) << "the last without end";
  EXPECT_THAT(lines("\n \t\r\na\n\n\nb\n\n"), ElementsAre(Pair(3, "a"), Pair(6, "b")));
  EXPECT_TRUE(lines("").empty());
  EXPECT_TRUE(lines("\n\r\n").empty());
}

TEST_F(BatchInputTest, LinesMayCrossThePiecesThatAreRead) {
  constexpr std::size_t kPiece = 1 << 20;
  for (const std::size_t bytes : {kPiece - 2, kPiece - 1, kPiece, kPiece + 1, 3 * kPiece}) {
    const std::string first(bytes, 'a');
    EXPECT_THAT(lines(first + "\nb\n"), ElementsAre(Pair(1, first), Pair(2, "b")));
    EXPECT_THAT(lines("b\n" + first), ElementsAre(Pair(1, "b"), Pair(2, first)));
  }
}

TEST_F(BatchInputTest, ALineThatIsTooLongIsNotHeld) {
  BatchInput input(file("abcd\nabcde\nabc\n"), 4);
  EXPECT_FALSE(input.next()->too_long);
  const auto line = input.next();
  EXPECT_TRUE(line->too_long);
  EXPECT_EQ(line->text, "abcd");
  EXPECT_FALSE(input.next()->too_long);
  EXPECT_FALSE(input.next());
}

TEST_F(BatchInputTest, TheDigestIsOfTheText) {
  // printf abc | sha256sum: ba7816bf8f01cfea...
  EXPECT_EQ((InputLine{.text = "abc"}).digest(), 0xba7816bf8f01cfeau);
}

TEST_F(BatchInputTest, WhatCannotBeReadAgainIsRefused) {
  EXPECT_THROW(BatchInput((directory_ / "none").string()), MissingInput);
  EXPECT_THROW(BatchInput("/dev/null"), UsageError);
  EXPECT_THROW(BatchInput{directory_.path().string()}, UsageError);
}

}  // namespace
}  // namespace longspan
