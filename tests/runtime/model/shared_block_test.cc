#include "runtime/model/shared_block.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

constexpr std::size_t kBytes = 3 * 4096 + 100;

std::byte& last(const Mapping& mapping) { return mapping.bytes()[kBytes - 1]; }

TEST(SharedBlockTest, AnotherProcessSeesWhatTheLeaderWrote) {
  const BlockFile file = BlockFile::memory(kBytes);
  last(file.map_writable()) = std::byte{42};
  const pid_t child = fork();
  if (child == 0) {
    const auto mapping = try_map_block(file.path(), kBytes, file.inode());
    _exit(mapping && last(*mapping) == std::byte{42} ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(SharedBlockTest, AReaderSeesWhatIsWrittenAfterItMapped) {
  const BlockFile file = BlockFile::memory(kBytes);
  const auto reader = try_map_block(file.path(), kBytes, file.inode());
  ASSERT_TRUE(reader);
  last(file.map_writable()) = std::byte{7};
  EXPECT_EQ(last(*reader), std::byte{7});
}

TEST(SharedBlockTest, LargePagesHoldZerosAndWhatIsWritten) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  for (std::size_t bytes : {std::size_t{1}, kHugePage - 1, kHugePage, 2 * kHugePage + kBytes}) {
    const BlockFile file = BlockFile::memory(bytes);
    file.use_large_pages(3);
    {
      const Mapping writable = file.map_writable();
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(writable.bytes().data()) % kHugePage, 0u);
      EXPECT_TRUE(
          std::ranges::all_of(writable.bytes(), [](std::byte x) { return x == std::byte{0}; }));
      std::ranges::fill(writable.bytes(), std::byte{5});
    }
    const Mapping sealed = file.seal_and_map();
    EXPECT_EQ(sealed.bytes().size(), bytes);
    EXPECT_TRUE(std::ranges::all_of(sealed.bytes(), [](std::byte x) { return x == std::byte{5}; }));
  }
}

TEST(SharedBlockTest, ASealedBlockCannotBeWrittenByAnyone) {
  const BlockFile file = BlockFile::memory(kBytes);
  last(file.map_writable()) = std::byte{1};
  const Mapping mapping = file.seal_and_map();
  EXPECT_EQ(last(mapping), std::byte{1});
  EXPECT_ANY_THROW(file.map_writable());
  const int writer = open(file.path().c_str(), O_RDWR | O_CLOEXEC);
  if (writer < 0) return;
  EXPECT_EQ(pwrite(writer, "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(ftruncate(writer, 0), 0);
  close(writer);
}

TEST(SharedBlockTest, TheWrongFileIsRefused) {
  const BlockFile file = BlockFile::memory(kBytes);
  EXPECT_FALSE(try_map_block(file.path(), kBytes, file.inode() + 1));
  EXPECT_FALSE(try_map_block(file.path(), kBytes + 1, file.inode()));
  EXPECT_FALSE(try_map_block("/proc/self/fd/9999", kBytes, file.inode()));
  EXPECT_FALSE(try_map_block("/dev/null", kBytes, file.inode()));
}

/// $TMPDIR for the length of a test.
class TemporaryBlockTest : public testing::Test {
 protected:
  TemporaryBlockTest() { setenv("TMPDIR", directory_.path().c_str(), 1); }
  ~TemporaryBlockTest() override { unsetenv("TMPDIR"); }

  test::TemporaryDirectory directory_;
};

TEST_F(TemporaryBlockTest, IsInTmpdirAndOutlivesItsName) {
  auto file = BlockFile::try_temporary(kBytes);
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->path().starts_with(directory_.path().string()));
  const auto reader = try_map_block(file->path(), kBytes, file->inode());
  ASSERT_TRUE(reader);
  file->unlink();
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
  last(file->map_writable()) = std::byte{9};
  EXPECT_EQ(last(*reader), std::byte{9});
  EXPECT_EQ(last(file->seal_and_map()), std::byte{9});
}

TEST_F(TemporaryBlockTest, LeavesNoFileBehindWhenItIsDropped) {
  {
    const auto file = BlockFile::try_temporary(kBytes);
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(TemporaryBlockTest, IsNothingWhereNoFileCanBeMade) {
  setenv("TMPDIR", (directory_ / "absent").c_str(), 1);
  EXPECT_FALSE(BlockFile::try_temporary(kBytes));
}

TEST_F(TemporaryBlockTest, IsNothingWhenThereIsNoRoom) {
  EXPECT_FALSE(BlockFile::try_temporary(std::size_t{1} << 60));
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

}  // namespace
}  // namespace longspan
