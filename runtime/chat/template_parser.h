// From the source of a chat template to its tree; Jinja's grammar (jinja2/parser.py) as far as chat
// templates use it. What is left out is refused by name: include, import, extends, block, raw.
#pragma once

#include <string_view>

#include "runtime/chat/template_syntax.h"

namespace longspan {

/// `source` is UTF-8. Throws TemplateSyntaxFault.
Statements parse_template(std::string_view source);

}  // namespace longspan
