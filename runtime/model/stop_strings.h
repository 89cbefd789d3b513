// Ends a text that comes in pieces before the first of some strings. Nothing that could be the
// beginning of one is given away before it is known not to be.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longspan {

/// The string that is complete first wins, and of those that end together the longest; so it does
/// not matter how the text is cut into pieces.
class StopStrings {
 public:
  /// None of them is empty.
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// The text that came free: of what was held back and `text`. Nothing after a stop was found.
  std::string push(std::string_view text);
  /// The same for a piece in which no stop counts. What was held back comes free.
  std::string pass(std::string_view text);
  /// What is still held back, at the end of the text.
  std::string finish() { return pass({}); }

  const std::optional<std::string>& found() const { return found_; }

 private:
  std::size_t held_back() const;

  std::vector<std::string> stops_;
  std::string held_;
  std::optional<std::string> found_;
};

}  // namespace longspan
