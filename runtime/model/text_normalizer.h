// What a tokenizer does to text before it looks for words: steps in the order of its file.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace longspan {

/// SentencePiece's mark of a word's beginning, U+2581, which stands for a space.
inline constexpr std::string_view kWordMark = "\xe2\x96\x81";

/// Unicode's normalisation form C.
struct ComposeText {};
/// Puts `text` in front of whatever is not empty.
struct PrependText {
  std::string text;
};
/// `from` is not empty.
struct ReplaceText {
  std::string from;
  std::string to;
};

class TextNormalizer {
 public:
  using Step = std::variant<ComposeText, PrependText, ReplaceText>;

  TextNormalizer() = default;
  explicit TextNormalizer(std::vector<Step> steps) : steps_(std::move(steps)) {}

  bool empty() const { return steps_.empty(); }
  const std::vector<Step>& steps() const { return steps_; }
  /// `text` is UTF-8.
  std::string apply(std::string_view text) const;

 private:
  std::vector<Step> steps_;
};

/// `text` with every `from` (not empty) as `to`, from left to right.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

}  // namespace longspan
