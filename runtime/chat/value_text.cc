#include "runtime/chat/value_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "comm/str.h"
#include "runtime/chat/unicode_text.h"

namespace longspan {
namespace {

using Value = TemplateValue;

/// The shortest digits that read back as `x`, as Python's repr of a float: plain from 1e-4 to
/// below 1e16.
std::string float_text(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  const double size = std::abs(x);
  const bool plain = x == 0 || (size >= 1e-4 && size < 1e16);
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, x,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer, end.ptr);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string quoted(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out{quote};
  for (std::string_view character : characters(text)) {
    const char32_t c = code_point(character);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += str("\\{}", character);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += character;
    } else {
      const auto point = static_cast<std::uint32_t>(c);
      out += c < 0x100     ? str("\\x{:02x}", point)
             : c < 0x10000 ? str("\\u{:04x}", point)
                           : str("\\U{:08x}", point);
    }
  }
  return out + quote;
}

std::string list_repr(const TemplateList& list) {
  std::string out;
  for (const Value& item : list.items) {
    if (!out.empty()) out += ", ";
    out += python_repr(item);
  }
  if (!list.is_tuple) return "[" + out + "]";
  return "(" + out + (list.items.size() == 1 ? ",)" : ")");
}

std::string dict_repr(const TemplateDict& dict) {
  std::string out;
  for (const auto& [key, value] : dict.items()) {
    if (!out.empty()) out += ", ";
    out += python_repr(key) + ": " + python_repr(value);
  }
  return "{" + out + "}";
}

/// A JSON document under construction.
class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  void add(const Value& value) {
    if (value.is_none()) {
      out_ += "null";
    } else if (value.is_bool()) {
      out_ += value.truth() ? "true" : "false";
    } else if (value.is_float()) {
      out_ += number(value.real());
    } else if (value.is_integer()) {
      out_ += printed(value);
    } else if (value.is_text()) {
      add_text(value.text());
    } else if (value.is_list()) {
      add_list(value.list());
    } else if (value.is_dict()) {
      add_dict(value.dict());
    } else {
      throw TemplateFault(str("Object of type {} is not JSON serializable", value.type_name()));
    }
  }

  std::string take() { return std::move(out_); }

 private:
  static std::string number(double x) {
    if (std::isnan(x)) return "NaN";
    if (std::isinf(x)) return x < 0 ? "-Infinity" : "Infinity";
    return float_text(x);
  }

  void add_list(const TemplateList& list) {
    if (list.items.empty()) {
      out_ += "[]";
      return;
    }
    open('[');
    bool first = true;
    for (const Value& item : list.items) {
      next(first);
      add(item);
    }
    close(']');
  }

  void add_dict(const TemplateDict& dict) {
    if (dict.items().empty()) {
      out_ += "{}";
      return;
    }
    std::vector<TemplateDict::Item> items = dict.items();
    if (style_.sort_keys) {
      std::ranges::stable_sort(items,
                               [](const auto& a, const auto& b) { return less(a.first, b.first); });
    }
    open('{');
    bool first = true;
    for (const auto& [key, value] : items) {
      next(first);
      add_text(key_text(key));
      out_ += style_.key_separator;
      add(value);
    }
    close('}');
  }

  static std::string key_text(const Value& key) {
    if (key.is_text()) return key.text();
    if (key.is_none()) return "null";
    if (key.is_bool()) return key.truth() ? "true" : "false";
    if (key.is_float()) return number(key.real());
    if (key.is_integer()) return printed(key);
    throw TemplateFault(str("keys must be str, int, float, bool or None, not {}", key.type_name()));
  }

  void add_text(std::string_view text) {
    out_ += '"';
    for (std::string_view character : characters(text)) add_character(character);
    out_ += '"';
  }

  void add_character(std::string_view character) {
    constexpr std::string_view kPlain = "\"\\\n\r\t\b\f", kEscape = "\"\\nrtbf";
    const char32_t c = code_point(character);
    const std::size_t at = c < 0x80 ? kPlain.find(static_cast<char>(c)) : std::string_view::npos;
    if (at != std::string_view::npos) {
      out_ += {'\\', kEscape[at]};
    } else if (c < 0x20 || (style_.ascii_only && c >= 0x7F && c < 0x10000 && c != 0x7F)) {
      out_ += str("\\u{:04x}", static_cast<std::uint32_t>(c));
    } else if (style_.ascii_only && c >= 0x10000) {
      const auto rest = static_cast<std::uint32_t>(c) - 0x10000;
      out_ += str("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    } else {
      out_ += character;
    }
  }

  void open(char bracket) {
    out_ += bracket;
    ++level_;
  }
  void close(char bracket) {
    --level_;
    new_line();
    out_ += bracket;
  }
  void next(bool& first) {
    if (!std::exchange(first, false)) out_ += style_.item_separator;
    new_line();
  }
  void new_line() {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
  }

  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

std::string printed(const TemplateValue& value) {
  if (value.is_text()) return value.text();
  if (value.is_undefined()) return "";
  return python_repr(value);
}

std::string python_repr(const TemplateValue& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.truth() ? "True" : "False";
  if (value.is_integer()) return str("{}", value.integer("a number"));
  if (value.is_float()) return float_text(value.real());
  if (value.is_text()) return quoted(value.text());
  if (value.is_list()) return list_repr(value.list());
  if (value.is_dict()) return dict_repr(value.dict());
  return str("<{}>", value.type_name());
}

std::string json_text(const TemplateValue& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.add(value);
  return writer.take();
}

}  // namespace longspan
