#include "launch/batch/batch_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <thread>

#include "comm/error.h"
#include "comm/host.h"
#include "comm/str.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class BatchLockTest : public testing::Test {
 protected:
  test::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "out.jsonl.lock";
};

TEST_F(BatchLockTest, ASecondOneIsToldWhoHoldsIt) {
  const BatchLock first(path_, "out.jsonl", milliseconds(0));
  try {
    const BatchLock second(path_, "out.jsonl", milliseconds(120));
    FAIL() << "both have the lock";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kTemporary);
    EXPECT_THAT(error.what(), HasSubstr(str("out.jsonl is being written by process {} on {}",
                                            getpid(), host_name())));
  }
}

TEST_F(BatchLockTest, ASecondOneWaitsForTheFirstToEnd) {
  std::optional<BatchLock> first;
  first.emplace(path_, "out.jsonl", milliseconds(0));
  std::jthread ends([&] {
    std::this_thread::sleep_for(milliseconds(200));
    first.reset();
  });
  const BatchLock second(path_, "out.jsonl", std::chrono::seconds(30));
  EXPECT_TRUE(std::filesystem::exists(path_)) << "the file that the first removed was made again";
}

TEST_F(BatchLockTest, NothingIsLeftBehind) {
  {
    const BatchLock lock(path_, "out.jsonl", milliseconds(0));
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(BatchLockTest, AFileThatADeadProcessLeftIsNoLock) {
  OpenFile(path_, O_RDWR | O_CREAT)
      .write(0, "process 1 on elsewhere, and more than is written now");
  const BatchLock lock(path_, "out.jsonl", milliseconds(0));
}

}  // namespace
}  // namespace longspan
