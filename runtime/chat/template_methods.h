// Methods of text, lists and dictionaries that templates may call: those that change nothing.
#pragma once

#include <optional>
#include <string>

#include "runtime/chat/template_budget.h"
#include "runtime/chat/template_value.h"

namespace longspan {

/// A function bound to `value`; nothing when it has no such method. `budget` outlives it. What
/// would change a value (append, update, pop) is there, but using it is a fault, as in the sandbox
/// of transformers.
std::optional<TemplateValue> method_of(const TemplateValue& value, const std::string& name,
                                       TemplateBudget& budget);

/// Pairs of key and value, as dict.items().
TemplateValue items_of(const TemplateDict& dict);

}  // namespace longspan
