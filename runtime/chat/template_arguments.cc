#include "runtime/chat/template_arguments.h"

#include <algorithm>

#include "comm/str.h"

namespace longspan {

BoundArguments::BoundArguments(std::string_view function,
                               std::initializer_list<std::string_view> names,
                               const CallArguments& arguments)
    : function_(function), names_(names), values_(names.size()) {
  if (arguments.positional.size() > names_.size()) {
    throw TemplateFault(str("{}() takes {} arguments at most, {} were given", function,
                            names_.size(), arguments.positional.size()));
  }
  std::ranges::copy(arguments.positional, values_.begin());
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::ranges::find(names_, name);
    if (at == names_.end()) {
      throw TemplateFault(str("{}() got an unexpected keyword argument '{}'", function, name));
    }
    auto& slot = values_[at - names_.begin()];
    if (slot) {
      throw TemplateFault(str("{}() got multiple values for argument '{}'", function, name));
    }
    slot = value;
  }
}

const TemplateValue& BoundArguments::required(std::size_t index) const {
  if (values_[index]) return *values_[index];
  throw TemplateFault(str("{}() missing required argument '{}'", function_, names_[index]));
}

TemplateValue BoundArguments::value_or(std::size_t index, TemplateValue fallback) const {
  return values_[index] ? *values_[index] : std::move(fallback);
}

bool BoundArguments::flag(std::size_t index, bool fallback) const {
  return values_[index] ? values_[index]->truth() : fallback;
}

std::int64_t BoundArguments::integer_or(std::size_t index, std::int64_t fallback) const {
  return values_[index] ? values_[index]->integer(names_[index]) : fallback;
}

}  // namespace longspan
