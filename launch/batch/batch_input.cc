#include "launch/batch/batch_input.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "runtime/model/sha256.h"

namespace longspan {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

std::uint64_t InputLine::digest() const {
  const Sha256 whole = sha256_of(std::string_view(text));
  std::uint64_t first = 0;
  for (std::size_t i = 0; i < sizeof(first); ++i) first = first << 8 | whole[i];
  return first;
}

BatchInput::BatchInput(const std::string& path, std::size_t most_bytes)
    : file_(path, O_RDONLY), most_bytes_(most_bytes), buffer_(kPiece) {
  file_.expect_regular();
}

bool BatchInput::fill() {
  begin_ = 0;
  end_ = file_.read(offset_, buffer_);
  offset_ += static_cast<std::int64_t>(end_);
  return end_ > 0;
}

bool BatchInput::next_line() {
  line_.text.clear();
  line_.too_long = false;
  if (begin_ == end_ && !fill()) return false;
  ++line_.number;
  for (bool ended = false; !ended && (begin_ < end_ || fill());) {
    const char* first = buffer_.data() + begin_;
    const void* newline = std::memchr(first, '\n', end_ - begin_);
    ended = newline != nullptr;
    const std::size_t count =
        ended ? static_cast<std::size_t>(static_cast<const char*>(newline) - first) : end_ - begin_;
    const std::size_t room = most_bytes_ - line_.text.size();
    line_.text.append(first, std::min(count, room));
    line_.too_long |= count > room;
    begin_ += count + (ended ? 1 : 0);
  }
  if (line_.text.ends_with('\r')) line_.text.pop_back();
  return true;
}

std::optional<InputLine> BatchInput::next() {
  while (next_line()) {
    if (line_.too_long || !is_blank(line_.text)) return line_;
  }
  return std::nullopt;
}

}  // namespace longspan
