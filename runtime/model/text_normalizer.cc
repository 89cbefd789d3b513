#include "runtime/model/text_normalizer.h"

#include "runtime/model/unicode.h"

namespace longspan {
namespace {

struct Apply {
  const std::string& text;

  std::string operator()(const ComposeText&) const { return composed(text); }
  std::string operator()(const PrependText& step) const {
    return text.empty() ? text : step.text + text;
  }
  std::string operator()(const ReplaceText& step) const {
    return replaced(text, step.from, step.to);
  }
};

}  // namespace

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  std::size_t at = 0;
  for (std::size_t found; (found = text.find(from, at)) != std::string_view::npos;
       at = found + from.size()) {
    out.append(text, at, found - at);
    out += to;
  }
  return out += text.substr(at);
}

std::string TextNormalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) out = std::visit(Apply{out}, step);
  return out;
}

}  // namespace longspan
