// Lines from a descriptor that a person or a pipe writes to, with a second one that ends the wait.
#pragma once

#include <optional>
#include <string>

namespace longspan {

class LineInput {
 public:
  /// Borrows both; the wait for a line ends when there is something to read from `wake`.
  LineInput(int fd, int wake) : fd_(fd), wake_(wake) {}

  /// The next line without its end (LF or CRLF); the last one may have none. Nothing at the end of
  /// the input or when woken. Throws IoError.
  std::optional<std::string> next();
  /// Takes an empty line away that has already arrived, if it is the next; does not wait.
  bool take_empty_line();

 private:
  /// Reads what is there, and waits for it if asked to. False if nothing came.
  bool read_some(bool waits);
  std::optional<std::string> take_line();

  int fd_;
  int wake_;
  bool ended_ = false;
  std::string unread_;
  std::size_t searched_ = 0;  // bytes of it without a line's end
};

}  // namespace longspan
