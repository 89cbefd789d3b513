#include "runtime/chat/template_lexer.h"

#include <algorithm>
#include <array>

#include "comm/str.h"
#include "runtime/chat/template_syntax.h"
#include "runtime/chat/unicode_text.h"

namespace longspan {
namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         (c & 0x80) != 0;
}

/// With "\n" for every kind of line end, and without the last one.
std::string with_plain_lines(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_lines(source)) {}

  std::vector<TemplateToken> tokens() {
    while (at_ < source_.size()) {
      if (const char tag = text_up_to_tag()) inside(tag);
    }
    add(LexemeKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  bool follows(std::string_view text) const {
    return std::string_view(source_).substr(at_).starts_with(text);
  }
  void add(LexemeKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  [[noreturn]] void fail(const std::string& what) const { throw TemplateSyntaxFault(line_, what); }

  void advance(std::size_t bytes) {
    const auto from = source_.begin() + static_cast<std::ptrdiff_t>(at_);
    line_ += static_cast<int>(std::count(from, from + static_cast<std::ptrdiff_t>(bytes), '\n'));
    at_ += bytes;
  }
  void skip_space() {
    const std::string_view rest = std::string_view(source_).substr(at_);
    advance(rest.size() - stripped(rest, Ends{.right = false}).size());
  }

  /// Where the next tag begins, or npos.
  std::size_t next_tag() const {
    constexpr std::string_view kTags = "{%#";
    for (std::size_t at = source_.find('{', at_); at != std::string::npos;
         at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() && kTags.find(source_[at + 1]) != std::string_view::npos)
        return at;
    }
    return std::string::npos;
  }

  /// Adds the text before the next tag and goes behind the tag's beginning; the tag's second
  /// character, or 0 at the end of the source.
  char text_up_to_tag() {
    const std::size_t begin = next_tag();
    std::string_view text = std::string_view(source_).substr(at_, begin - at_);
    if (begin == std::string::npos) {
      if (!text.empty()) add(LexemeKind::kText, std::string(text));
      advance(text.size());
      return '\0';
    }
    const char tag = source_[begin + 1];
    const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    const std::size_t all = text.size();
    if (sign == '-') {
      text = stripped(text, Ends{.left = false});
    } else if (sign != '+' && tag != '{') {
      text = without_indent(text);
    }
    if (!text.empty()) add(LexemeKind::kText, std::string(text));
    const bool has_sign = sign == '-' || sign == '+';
    advance(all + 2 + (has_sign ? 1 : 0));
    return tag;
  }

  /// lstrip_blocks: without the white space behind the last line end. At the start of `text` there
  /// is one too if the tag before it ended with one.
  std::string_view without_indent(std::string_view text) const {
    const std::size_t line_end = text.rfind('\n');
    if (line_end == std::string_view::npos && !starts_line_) return text;
    const std::size_t from = line_end == std::string_view::npos ? 0 : line_end + 1;
    const bool blank = stripped(text.substr(from)).empty();
    return blank ? text.substr(0, from) : text;
  }

  void inside(char tag) {
    if (tag == '#') {
      const int opened = line_;
      const std::size_t end = source_.find("#}", at_);
      if (end == std::string::npos) {
        throw TemplateSyntaxFault(opened, "Missing end of comment tag");
      }
      // The sign before the end belongs to it, also where it is the beginning's: {#-#}.
      const char sign = end > at_ ? source_[end - 1] : '\0';
      advance(end - at_);
      close(2, sign, true);
      return;
    }
    const bool is_output = tag == '{';
    add(is_output ? LexemeKind::kOutputBegin : LexemeKind::kTagBegin, "");
    open_.clear();
    while (!closed(is_output)) token();
  }

  /// Goes behind the end of a tag, `bytes` long with the sign before it left out or not.
  void close(std::size_t bytes, char sign, bool trims) {
    advance(bytes);
    starts_line_ = false;
    const std::size_t before = at_;
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && trims && peek() == '\n') {
      advance(1);
    }
    starts_line_ = at_ > before && source_[at_ - 1] == '\n';
  }

  /// Whether the tag ends here; brackets that are open keep it from ending.
  bool closed(bool is_output) {
    const std::string_view end = is_output ? "}}" : "%}";
    const char sign = peek();
    const bool signed_end = (sign == '-' || (sign == '+' && !is_output)) &&
                            std::string_view(source_).substr(at_ + 1).starts_with(end);
    if (!open_.empty() || (!signed_end && !follows(end))) return false;
    add(is_output ? LexemeKind::kOutputEnd : LexemeKind::kTagEnd, "");
    close(signed_end ? 3 : 2, signed_end ? sign : '\0', !is_output);
    return true;
  }

  void token() {
    const std::size_t before = at_;
    skip_space();
    if (at_ > before) return;
    const char c = peek();
    if (c == '\0' && at_ >= source_.size()) fail("unexpected end of template");
    if (c >= '0' && c <= '9') return number();
    if (is_word(c)) return name();
    if (c == '"' || c == '\'') return string();
    one_operator();
  }

  void name() {
    std::size_t size = 0;
    while (is_word(peek(size))) ++size;
    add(LexemeKind::kName, source_.substr(at_, size));
    advance(size);
  }

  /// Digits, with single underscores between them.
  std::size_t digits(std::size_t from) const {
    const auto digit = [&](std::size_t i) { return is_digit(static_cast<unsigned char>(peek(i))); };
    if (!digit(from)) return from;
    while (digit(from) || (peek(from) == '_' && digit(from + 1))) ++from;
    return from;
  }

  void number() {
    std::size_t size = digits(0);
    bool is_float = false;
    if (peek(size) == '.' && digits(size + 1) > size + 1) {
      size = digits(size + 1);
      is_float = true;
    }
    if (peek(size) == 'e' || peek(size) == 'E') {
      const std::size_t sign = peek(size + 1) == '+' || peek(size + 1) == '-' ? 1 : 0;
      if (digits(size + 1 + sign) > size + 1 + sign) {
        size = digits(size + 1 + sign);
        is_float = true;
      }
    }
    std::string text = source_.substr(at_, size);
    std::erase(text, '_');
    add(is_float ? LexemeKind::kFloat : LexemeKind::kInteger, std::move(text));
    advance(size);
  }

  void string() {
    const char quote = peek();
    std::size_t end = 1;
    while (peek(end) != quote) {
      if (at_ + end >= source_.size()) fail("a string that does not end");
      end += peek(end) == '\\' ? 2 : 1;
    }
    if (at_ + end >= source_.size()) fail("a string that does not end");
    add(LexemeKind::kString, unescaped(std::string_view(source_).substr(at_ + 1, end - 1)));
    advance(end + 1);
  }

  /// Python's escapes; an unknown one stays as it is written.
  std::string unescaped(std::string_view text) const {
    constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    std::string out;
    while (!text.empty()) {
      const std::size_t plain = std::min(text.find('\\'), text.size());
      out += text.substr(0, plain);
      text.remove_prefix(plain);
      if (text.size() < 2) break;
      const char c = text[1];
      const std::size_t at = kLetters.find(c);
      if (c == 'x' || c == 'u' || c == 'U') {
        text.remove_prefix(2);
        out += hex_escape(text, c == 'x' ? 2 : c == 'u' ? 4 : 8);
      } else if (c >= '0' && c <= '7') {
        text.remove_prefix(1);
        out += octal_escape(text);
      } else {
        if (at != std::string_view::npos) {
          out += kMeanings[at];
        } else if (c != '\n') {
          out += text.substr(0, 2);
        }
        text.remove_prefix(2);
      }
    }
    return out;
  }

  std::string hex_escape(std::string_view& text, std::size_t digits) const {
    char32_t c = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const int digit = i < text.size() ? hex_digit(text[i]) : -1;
      if (digit < 0) fail("a \\x, \\u or \\U escape has too few digits");
      c = c << 4 | static_cast<char32_t>(digit);
    }
    text.remove_prefix(digits);
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) fail("an escape names no character");
    return utf8(c);
  }

  static std::string octal_escape(std::string_view& text) {
    char32_t c = 0;
    for (int i = 0; i < 3 && !text.empty() && text[0] >= '0' && text[0] <= '7'; ++i) {
      c = c << 3 | static_cast<char32_t>(text[0] - '0');
      text.remove_prefix(1);
    }
    return utf8(c);
  }

  void one_operator() {
    constexpr std::array<std::string_view, 26> kOperators = {
        "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found =
        std::ranges::find_if(kOperators, [&](std::string_view word) { return follows(word); });
    if (found == kOperators.end()) fail(str("unexpected char '{}'", peek()));
    balance(found->front());
    add(LexemeKind::kOperator, std::string(*found));
    advance(found->size());
  }

  void balance(char c) {
    constexpr std::string_view kOpen = "([{", kClose = ")]}";
    if (const std::size_t at = kOpen.find(c); at != std::string_view::npos) open_ += kClose[at];
    if (kClose.find(c) == std::string_view::npos) return;
    if (open_.empty()) fail(str("unexpected '{}'", c));
    if (open_.back() != c) fail(str("unexpected '{}', expected '{}'", c, open_.back()));
    open_.pop_back();
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool starts_line_ = true;
  std::string open_;  // what closes the brackets that are open in this tag
  std::vector<TemplateToken> tokens_;
};

}  // namespace

std::vector<TemplateToken> template_tokens(std::string_view source) {
  return Lexer(source).tokens();
}

}  // namespace longspan
