// What stands behind `is`: Jinja's tests.
#pragma once

#include <string>
#include <string_view>

#include "runtime/chat/template_value.h"

namespace longspan {

bool has_test(std::string_view name);
/// Faults when there is no such test.
bool passes_test(const std::string& name, const TemplateValue& value,
                 const CallArguments& arguments);

}  // namespace longspan
