// Bytes come back from where they were put, and what could not be moved is said.
#include "comm/file_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>

#include "tests/support/small_disk.h"

namespace longspan {
namespace {

class FileIoTest : public testing::Test {
 protected:
  ~FileIoTest() override { close(fd_); }

  FileTransfer write(std::uint64_t at, std::string_view text) const {
    return write_at(fd_, at, std::as_bytes(std::span(text)));
  }
  /// What is there, of `size` characters that are asked for.
  std::string read(std::uint64_t at, std::size_t size) const {
    std::string text(size, '?');
    const FileTransfer done = read_at(fd_, at, std::as_writable_bytes(std::span(text)));
    EXPECT_EQ(done.error, 0);
    EXPECT_EQ(text.substr(done.bytes), std::string(size - done.bytes, '?'));
    return text.substr(0, done.bytes);
  }

  const int fd_ = memfd_create("file_io_test", MFD_CLOEXEC);
};

TEST_F(FileIoTest, WhatIsWrittenSomewhereIsReadThere) {
  EXPECT_EQ(write(3, "behind").bytes, 6u);
  EXPECT_EQ(write(0, "bef").bytes, 3u);
  EXPECT_EQ(write(1, "").error, 0);
  EXPECT_EQ(read(0, 9), "befbehind");
  EXPECT_EQ(read(2, 3), "fbe");
  EXPECT_EQ(read(2, 0), "");
}

TEST_F(FileIoTest, AFileThatEndsGivesWhatItHas) {
  write(0, "end");
  EXPECT_EQ(read(1, 5), "nd");
  EXPECT_EQ(read(3, 5), "");
  EXPECT_EQ(read(70, 5), "");
}

TEST_F(FileIoTest, MoreThanOneCallMovesIsMovedInOrder) {
  std::string large((64 << 20) + 5, '.');
  large.replace(large.size() - 8, 8, "12345678");
  EXPECT_EQ(write(1, large).bytes, large.size());
  EXPECT_TRUE(read(1, large.size() + 1) == large);
}

TEST_F(FileIoTest, WhatFindsNoRoomSaysHowFarItGot) {
  {
    const test::SmallDisk disk(10);
    const FileTransfer done = write(4, "twelve bytes");
    EXPECT_EQ(done.bytes, 6u);
    EXPECT_EQ(done.error, EFBIG);
  }
  EXPECT_EQ(read(4, 20), "twelve");
}

TEST_F(FileIoTest, AnErrorIsErrnos) {
  std::byte byte{};
  EXPECT_EQ(read_at(-1, 0, {&byte, 1}).error, EBADF);
  EXPECT_EQ(write_at(-1, 0, {&byte, 1}).error, EBADF);
  const int full = open("/dev/full", O_RDWR | O_CLOEXEC);
  EXPECT_EQ(write_at(full, 0, {&byte, 1}).error, ENOSPC);
  close(full);
}

}  // namespace
}  // namespace longspan
