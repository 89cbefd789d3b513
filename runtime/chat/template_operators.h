// What operators and brackets do, as in Python, with Jinja's rule that what is not there is
// undefined.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runtime/chat/template_budget.h"
#include "runtime/chat/template_value.h"

namespace longspan {

/// `sign`: + - * / // % **. Integers have 64 bits; what needs more is a fault.
TemplateValue arithmetic(std::string_view sign, const TemplateValue& a, const TemplateValue& b,
                         TemplateBudget& budget);
TemplateValue negated(const TemplateValue& value);
/// `sign`: == != < <= > >= in, not in.
bool compares(std::string_view sign, const TemplateValue& a, const TemplateValue& b);

/// value.name: a method first, then an item.
TemplateValue attribute_of(const TemplateValue& value, const std::string& name,
                           TemplateBudget& budget);
/// value[key]: an item first, then a method.
TemplateValue item_of(const TemplateValue& value, const TemplateValue& key, TemplateBudget& budget);
TemplateValue slice_of(const TemplateValue& value, const std::optional<TemplateValue>& from,
                       const std::optional<TemplateValue>& to,
                       const std::optional<TemplateValue>& step, TemplateBudget& budget);

}  // namespace longspan
