// What stands behind `|`: Jinja's filters, with transformers' own tojson. Those that would give a
// generator give a list.
#pragma once

#include <string>
#include <string_view>

#include "runtime/chat/template_budget.h"
#include "runtime/chat/template_value.h"

namespace longspan {

bool has_filter(std::string_view name);
/// Of a filter that exists.
TemplateValue filtered(const std::string& name, const TemplateValue& value,
                       const CallArguments& arguments, TemplateBudget& budget);

}  // namespace longspan
