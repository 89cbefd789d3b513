// A chat template as a list of tokens, cut as Jinja's lexer cuts it with trim_blocks and
// lstrip_blocks on, which is how Hugging Face transformers sets it up:
//
//   - `{%-` and `-%}` (also of `{{` and `{#`) take all white space beside them
//   - the line end after `%}` and `#}` goes, and the white space before `{%` and `{#` if nothing
//   else
//     stands before it on its line; `+%}` and `{%+` keep them
//   - the last line end of the template goes
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longspan {

enum class LexemeKind {
  kText,         // what lies between tags
  kOutputBegin,  // {{
  kOutputEnd,
  kTagBegin,  // {%
  kTagEnd,
  kName,
  kString,  // its value, without quotes and escapes
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct TemplateToken {
  LexemeKind kind = LexemeKind::kEnd;
  std::string text;
  int line = 1;
};

/// The last one is kEnd. Throws TemplateSyntaxFault; `source` is UTF-8.
std::vector<TemplateToken> template_tokens(std::string_view source);

}  // namespace longspan
