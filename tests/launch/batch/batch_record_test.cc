#include "launch/batch/batch_record.h"

#include <gtest/gtest.h>

#include <fstream>

#include "comm/error.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using nlohmann::json;

TEST(BatchRecordTest, IsReadBackAsItWasWritten) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "out.jsonl.run";
  EXPECT_FALSE(read_record(path));
  const json facts{{"model", {{"name", "m"}}}, {"options", {{"temperature", 0.7}}}};
  write_record(path, {.seed = -5, .facts = facts});
  const auto record = read_record(path);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->seed, -5);
  EXPECT_EQ(record->facts, facts);
  EXPECT_FALSE(first_change(record->facts, facts)) << "numbers come back as they were";
}

TEST(BatchRecordTest, ADamagedOneIsRefused) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "out.jsonl.run";
  for (const char* text : {"", "{", "7", "{}", R"({"longspan_run_batch": 2})",
                           R"({"longspan_run_batch": 1, "seed": "x", "facts": {}})",
                           R"({"longspan_run_batch": 1, "seed": 1, "facts": 7})"}) {
    std::ofstream(path) << text;
    EXPECT_THROW(read_record(path), DataError) << text;
  }
}

TEST(BatchRecordTest, AChangeIsNamed) {
  const json before{{"a", {{"b", 1}, {"c", "x"}}}};
  EXPECT_EQ(first_change(before, before), std::nullopt);
  EXPECT_EQ(first_change(before, {{"a", {{"b", 2}, {"c", "x"}}}}), "a.b was 1, now 2");
  EXPECT_EQ(first_change(before, {{"a", {{"b", 1}}}}), "a.c was \"x\", now gone");
  EXPECT_EQ(first_change(before, {{"a", {{"b", 1}, {"c", "x"}, {"d", nullptr}}}}),
            "a.d was not there, now null");
}

}  // namespace
}  // namespace longspan
