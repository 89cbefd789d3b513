// What stands behind `|`: Jinja's filters, with transformers' own tojson. Those that would give a
// generator give a list.
#pragma once

#include <string>
#include <string_view>

#include "runtime/chat/template_budget.h"
#include "runtime/chat/template_value.h"

namespace longspan {

bool has_filter(std::string_view name);
/// Faults when there is no such filter, as Jinja does when it comes to one in a branch: a template
/// may ask for one that is not there in a branch that is never taken.
TemplateValue filtered(const std::string& name, const TemplateValue& value,
                       const CallArguments& arguments, TemplateBudget& budget);

}  // namespace longspan
