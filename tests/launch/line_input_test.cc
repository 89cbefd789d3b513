#include "launch/line_input.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string_view>

namespace longspan {
namespace {

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe2(ends_.data(), O_CLOEXEC), 0); }
  ~Pipe() {
    close(ends_[0]);
    end();
  }

  int to_read() const { return ends_[0]; }
  void write(std::string_view text) {
    EXPECT_EQ(::write(ends_[1], text.data(), text.size()), std::ssize(text));
  }
  void end() {
    if (ends_[1] >= 0) close(ends_[1]);
    ends_[1] = -1;
  }

 private:
  std::array<int, 2> ends_{};
};

class LineInputTest : public testing::Test {
 protected:
  Pipe typed_, wake_;
  LineInput lines_{typed_.to_read(), wake_.to_read()};
};

TEST_F(LineInputTest, LinesComeWithoutTheirEndsAndTheLastMayHaveNone) {
  typed_.write("one\n\ntwo\r\n");
  EXPECT_EQ(lines_.next(), "one");
  EXPECT_EQ(lines_.next(), "");
  EXPECT_EQ(lines_.next(), "two");
  typed_.write("a");
  typed_.write("b\nlast");
  typed_.end();
  EXPECT_EQ(lines_.next(), "ab");
  EXPECT_EQ(lines_.next(), "last");
  EXPECT_EQ(lines_.next(), std::nullopt);
  EXPECT_EQ(lines_.next(), std::nullopt);
}

TEST_F(LineInputTest, AWakeEndsTheWait) {
  wake_.write("x");
  typed_.write("half");
  EXPECT_EQ(lines_.next(), std::nullopt);
}

TEST_F(LineInputTest, OnlyAnEmptyLineThatIsNextIsTaken) {
  EXPECT_FALSE(lines_.take_empty_line()) << "nothing is there, and nobody waits";
  typed_.write("\nnext\n\n");
  EXPECT_TRUE(lines_.take_empty_line());
  EXPECT_FALSE(lines_.take_empty_line());
  EXPECT_EQ(lines_.next(), "next");
  EXPECT_TRUE(lines_.take_empty_line());
  typed_.end();
  EXPECT_FALSE(lines_.take_empty_line());
}

}  // namespace
}  // namespace longspan
