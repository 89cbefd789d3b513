// Folders that lack some of a tokenizer's files.
#include "runtime/model/folder_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "comm/error.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FolderTokenizerTest : public testing::Test {
 protected:
  void file(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  Tokenizer load(int vocabulary) const { return folder_tokenizer(folder_.path(), vocabulary); }

  test::TemporaryDirectory folder_;
};

TEST_F(FolderTokenizerTest, WithoutTokenizerJsonIdsAreShownAndTextIsRefused) {
  const Tokenizer tokenizer = load(20);
  EXPECT_EQ(tokenizer.vocabulary(), 20);
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{17, 0}), "<17><0>");
  EXPECT_THAT(tokenizer.ends(), ElementsAre());
  try {
    tokenizer.encode("text");
    ADD_FAILURE() << "text was taken";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr(folder_.path().filename().string()));
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
  }
}

TEST_F(FolderTokenizerTest, WithoutTokenizerJsonATextStillEnds) {
  file("config.json", R"({"eos_token_id": [5, 3]})");
  EXPECT_THAT(load(20).ends(), ElementsAre(5, 3));
  file("generation_config.json", R"({"eos_token_id": 7})");
  EXPECT_THAT(load(20).ends(), ElementsAre(7));
  EXPECT_THROW(load(7), DataError);
}

TEST_F(FolderTokenizerTest, ATokenizerThatCannotBeReadIsNoMissingOne) {
  file("tokenizer.json", "{");
  EXPECT_THROW(load(20), DataError);
}

}  // namespace
}  // namespace longspan
