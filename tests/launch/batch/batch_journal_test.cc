#include "launch/batch/batch_journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "comm/error.h"
#include "comm/str.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/support/small_disk.h"

namespace longspan {
namespace {

using testing::HasSubstr;
using Before = BatchJournal::Before;

std::string line(std::int64_t number, bool failed = false, std::uint64_t digest = 1) {
  return str(R"({{"id":"batch_req_{}_{:x}","response":{{"status_code":{}}}}})", number, digest,
             failed ? 400 : 200) +
         "\n";
}

class BatchJournalTest : public testing::Test {
 protected:
  std::string text() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }

  static void append(BatchJournal& journal, std::int64_t number, bool failed = false,
                     std::uint64_t digest = 1) {
    journal.append({.name = {number, digest}, .failed = failed}, line(number, failed, digest));
  }

  test::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "out.jsonl";
};

TEST_F(BatchJournalTest, AnAnswerIsThereAtOnce) {
  BatchJournal journal(path_);
  EXPECT_EQ(journal.lines(), 0u);
  append(journal, 3);
  EXPECT_EQ(text(), line(3));
  append(journal, 1);
  EXPECT_EQ(text(), line(3) + line(1));
  journal.sync();
}

TEST_F(BatchJournalTest, LinesComeToLieInTheOrderOfTheInput) {
  BatchJournal journal(path_);
  for (const std::int64_t number : {5, 2, 9, 1}) append(journal, number);
  EXPECT_EQ(journal.put_in_order(9), 0u);
  EXPECT_EQ(text(), line(1) + line(2) + line(5) + line(9));
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".tmp"));
}

TEST_F(BatchJournalTest, NothingAtAllIsInOrderToo) {
  BatchJournal journal(path_);
  EXPECT_EQ(journal.put_in_order(0), 0u);
  EXPECT_EQ(text(), "");
}

TEST_F(BatchJournalTest, ATornLastLineIsCut) {
  const std::string whole = line(2) + line(1);
  for (const std::string& torn : {std::string(), std::string("{"), line(3).substr(0, 20),
                                  line(3).substr(0, line(3).size() - 1)}) {
    write(whole + torn);
    BatchJournal journal(path_);
    EXPECT_EQ(text(), whole);
    EXPECT_EQ(journal.lines(), 2u);
    EXPECT_EQ(journal.before({3, 1}), Before::kNothing);
    append(journal, 3);
    EXPECT_EQ(text(), whole + line(3));
  }
}

TEST_F(BatchJournalTest, ATornLineAmongOthersAnswersNothingAndGoes) {
  const std::string torn = line(3).substr(0, 20);
  for (const std::string& before : {std::string(), line(1)}) {
    for (const std::string& after : {std::string("\n"), line(2), std::string("\n") + line(2)}) {
      SCOPED_TRACE(before + torn + after);
      write(before + torn + after);
      {
        BatchJournal journal(path_);
        EXPECT_EQ(journal.torn(), 1u);
        EXPECT_EQ(journal.before({1, 1}), before.empty() ? Before::kNothing : Before::kAnswered);
        EXPECT_EQ(journal.before({3, 1}), Before::kNothing);
        append(journal, 3);
        EXPECT_EQ(text(), before + torn + after + line(3)) << "until all are answered";
      }
      BatchJournal journal(path_);
      EXPECT_EQ(journal.torn(), 1u);
      EXPECT_EQ(journal.before({3, 1}), Before::kAnswered);
      const bool whole_second = after == "\n" + line(2);
      EXPECT_EQ(journal.put_in_order(3), 0u);
      EXPECT_EQ(text(), before + (whole_second ? line(2) : "") + line(3));
    }
  }
}

TEST_F(BatchJournalTest, ATornLineGoesWhereAllElseIsInOrder) {
  write(line(1) + line(2).substr(0, 20) + "\n");
  EXPECT_EQ(BatchJournal(path_).put_in_order(2), 0u);
  EXPECT_EQ(text(), line(1));
}

TEST_F(BatchJournalTest, LinesMayCrossThePiecesThatAreRead) {
  std::string whole;
  for (std::int64_t number = 30'000; number > 0; --number) whole += line(number);
  ASSERT_GT(whole.size(), 1u << 20);
  write(whole);
  BatchJournal journal(path_);
  EXPECT_EQ(journal.lines(), 30'000u);
  EXPECT_EQ(journal.before({17'000, 1}), Before::kAnswered);
  journal.put_in_order(30'000);
  EXPECT_TRUE(text().starts_with(line(1) + line(2)));
  EXPECT_EQ(text().size(), whole.size());
}

TEST_F(BatchJournalTest, ALineIsKnownByNumberAndDigest) {
  write(line(1, false, 0xa) + line(2, true, 0xb));
  const BatchJournal journal(path_);
  EXPECT_EQ(journal.before({1, 0xa}), Before::kAnswered);
  EXPECT_EQ(journal.before({1, 0xb}), Before::kNothing);
  EXPECT_EQ(journal.before({2, 0xb}), Before::kFailed);
  EXPECT_EQ(journal.before({3, 0xa}), Before::kNothing);
}

TEST_F(BatchJournalTest, TheNewestAnswerOfALineStays) {
  write(line(2, true) + line(1) + line(2));
  {
    BatchJournal journal(path_);
    EXPECT_EQ(journal.before({2, 1}), Before::kAnswered);
    append(journal, 1, false, 7);
    EXPECT_EQ(journal.put_in_order(2), 2u);
  }
  EXPECT_EQ(text(), line(1, false, 7) + line(2));
}

TEST_F(BatchJournalTest, AnswersBehindTheInputsEndGo) {
  write(line(3) + line(1) + line(2));
  BatchJournal journal(path_);
  EXPECT_EQ(journal.put_in_order(2), 1u);
  EXPECT_EQ(text(), line(1) + line(2));
}

TEST_F(BatchJournalTest, WhatIsInOrderIsNotWrittenAgain) {
  write(line(1) + line(2));
  struct stat before = {}, after = {};
  stat(path_.c_str(), &before);
  BatchJournal(path_).put_in_order(2);
  stat(path_.c_str(), &after);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST_F(BatchJournalTest, ALinkStaysALinkAndModesStay) {
  const auto real = directory_ / "real.jsonl";
  std::ofstream(real) << line(2) + line(1);
  std::filesystem::permissions(real, std::filesystem::perms(0640));
  std::filesystem::create_symlink(real, path_);
  BatchJournal(path_).put_in_order(2);
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
  EXPECT_EQ(text(), line(1) + line(2));
  EXPECT_EQ(std::filesystem::status(real).permissions(), std::filesystem::perms(0640));
}

TEST_F(BatchJournalTest, AForeignFileIsLeftAlone) {
  for (const std::string& foreign : {std::string("hello\n"), line(1) + "\n", line(1) + "{}\n"}) {
    write(foreign);
    EXPECT_THROW(BatchJournal{path_}, DataError);
    EXPECT_EQ(text(), foreign);
  }
}

TEST_F(BatchJournalTest, ALineThatIsNoneIsNamedByWhereItIs) {
  write(line(1) + line(2).substr(0, 20) + "\nhello\n" + line(3));
  try {
    BatchJournal{path_};
    FAIL() << "it was taken";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("line 3 is none that longspan run-batch wrote"));
    EXPECT_THAT(error.what(), HasSubstr("take that line out"));
  }
}

TEST_F(BatchJournalTest, ADiskThatIsFullLosesNothingThatWasAnswered) {
  BatchJournal journal(path_);
  append(journal, 2);
  append(journal, 1);
  {
    const test::SmallDisk disk(text().size() + 10);
    try {
      append(journal, 3);
      FAIL() << "there was room";
    } catch (const IoError& error) {
      EXPECT_THAT(error.what(), HasSubstr("the 2 lines that were answered are kept"));
    }
    EXPECT_EQ(text(), line(2) + line(1)) << "and nothing of the third";
  }
  append(journal, 3);
  EXPECT_EQ(text(), line(2) + line(1) + line(3));
}

TEST_F(BatchJournalTest, WhatCannotBePutInOrderStaysAsItIs) {
  BatchJournal journal(path_);
  append(journal, 2);
  append(journal, 1);
  const test::SmallDisk disk(text().size() - 1);
  EXPECT_THROW(journal.put_in_order(2), IoError);
  EXPECT_EQ(text(), line(2) + line(1));
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".tmp"));
}

TEST_F(BatchJournalTest, WhatCannotBeWrittenToIsRefused) {
  EXPECT_THROW(BatchJournal(directory_ / "none" / "out.jsonl"), MissingInput);
  EXPECT_THROW(BatchJournal("/dev/null"), UsageError);
}

TEST_F(BatchJournalTest, AClearedJournalBeginsAnew) {
  write(line(1) + line(2));
  BatchJournal journal(path_);
  journal.clear();
  EXPECT_EQ(text(), "");
  EXPECT_EQ(journal.before({1, 1}), Before::kNothing);
  append(journal, 2);
  EXPECT_EQ(text(), line(2));
}

}  // namespace
}  // namespace longspan
