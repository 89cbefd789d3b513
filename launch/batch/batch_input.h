// The lines of a batch file, one at a time: the file may be larger than memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/batch/open_file.h"

namespace longspan {

/// A prompt of four million token ids has less. A line of more is not held.
inline constexpr std::size_t kMostLineBytes = std::size_t{64} << 20;

struct InputLine {
  std::int64_t number = 1;  // in the file, blank lines counted
  std::string text;         // without its end; the first bytes of a line that is too long
  bool too_long = false;

  /// What tells this line from another of its number: the first 8 bytes of its SHA-256.
  std::uint64_t digest() const;
};

class BatchInput {
 public:
  /// Throws MissingInput, PermissionError or IoError.
  explicit BatchInput(const std::string& path, std::size_t most_bytes = kMostLineBytes);

  /// The next line with anything but blanks in it; nothing after the last. Throws IoError.
  std::optional<InputLine> next();
  const OpenFile& file() const { return file_; }

 private:
  bool fill();
  bool next_line();

  OpenFile file_;
  const std::size_t most_bytes_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;  // of what is in the buffer and was not handed out
  std::int64_t offset_ = 0;          // of the file, after what is in the buffer
  InputLine line_{.number = 0};
};

}  // namespace longspan
