#include "launch/line_input.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {

std::optional<std::string> LineInput::next() {
  for (;;) {
    if (auto line = take_line()) return line;
    if (ended_ || !read_some(true)) break;
  }
  searched_ = 0;
  if (!ended_ || unread_.empty()) return std::nullopt;
  return std::exchange(unread_, {});
}

bool LineInput::take_empty_line() {
  if (unread_.empty()) read_some(false);
  if (unread_.empty() || unread_.front() != '\n') return false;
  unread_.erase(0, 1);
  return true;
}

std::optional<std::string> LineInput::take_line() {
  const std::size_t end = unread_.find('\n', searched_);
  searched_ = end == std::string::npos ? unread_.size() : 0;
  if (end == std::string::npos) return std::nullopt;
  std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

bool LineInput::read_some(bool waits) {
  std::array<pollfd, 2> watched{pollfd{.fd = fd_, .events = POLLIN, .revents = 0},
                                pollfd{.fd = wake_, .events = POLLIN, .revents = 0}};
  while (poll(watched.data(), watched.size(), waits ? -1 : 0) < 0) {
    if (errno != EINTR) throw IoError(str("standard input: {}", std::strerror(errno)));
  }
  if (watched[1].revents != 0 || watched[0].revents == 0) return false;
  std::array<char, 1 << 16> block;
  const ssize_t count = read(fd_, block.data(), block.size());
  if (count < 0) throw IoError(str("standard input: {}", std::strerror(errno)));
  ended_ = count == 0;
  unread_.append(block.data(), static_cast<std::size_t>(count));
  return true;
}

}  // namespace longspan
