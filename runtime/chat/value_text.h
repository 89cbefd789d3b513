// Values as text: what Python's str(), repr() and json.dumps() make of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/chat/template_value.h"

namespace longspan {

/// What `{{ value }}` prints; nothing for what is undefined.
std::string printed(const TemplateValue& value);
std::string python_repr(const TemplateValue& value);

struct JsonStyle {
  bool ascii_only = false;
  std::optional<std::string> indent;  // of one level; without it everything is on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};

/// Faults on what JSON cannot say.
std::string json_text(const TemplateValue& value, const JsonStyle& style);

}  // namespace longspan
