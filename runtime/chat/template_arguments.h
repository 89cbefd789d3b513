// Arguments of a call, matched with names as Python does it.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/chat/template_value.h"

namespace longspan {

class BoundArguments {
 public:
  /// Faults, naming `function`, when there are too many, one is given twice, or none has that name.
  BoundArguments(std::string_view function, std::initializer_list<std::string_view> names,
                 const CallArguments& arguments);

  /// The value of the `index`-th name, if it was given.
  const std::optional<TemplateValue>& operator[](std::size_t index) const { return values_[index]; }
  /// The same; a fault when it was not given.
  const TemplateValue& required(std::size_t index) const;
  TemplateValue value_or(std::size_t index, TemplateValue fallback) const;
  bool flag(std::size_t index, bool fallback = false) const;
  std::int64_t integer_or(std::size_t index, std::int64_t fallback) const;

 private:
  std::string_view function_;
  std::vector<std::string_view> names_;
  std::vector<std::optional<TemplateValue>> values_;
};

}  // namespace longspan
