#include "runtime/chat/template_budget.h"

#include "comm/str.h"
#include "runtime/chat/template_value.h"

namespace longspan {

void TemplateBudget::charge(std::size_t steps) {
  if (steps > static_cast<std::size_t>(left_)) {
    throw TemplateFault(
        str("takes more than {} steps; does it loop for ever?", kMostTemplateSteps));
  }
  left_ -= static_cast<std::int64_t>(steps);
}

void TemplateBudget::charge_text(std::size_t bytes) {
  if (bytes > kMostTemplateBytes) {
    throw TemplateFault(str("makes a text of more than {} bytes", kMostTemplateBytes));
  }
  charge(bytes / 64);
}

}  // namespace longspan
