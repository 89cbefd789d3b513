#include "runtime/chat/chat_template.h"

#include <array>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/chat/template_arguments.h"
#include "runtime/chat/template_function.h"
#include "runtime/chat/template_interpreter.h"
#include "runtime/chat/template_parser.h"
#include "runtime/chat/value_text.h"
#include "runtime/model/tokenizer.h"

namespace longspan {
namespace {

constexpr std::size_t kLongestSource = std::size_t{1} << 20;

/// What a template says of its input, as opposed to what is wrong with the template.
class RaisedByTemplate : public TemplateFault {
 public:
  using TemplateFault::TemplateFault;
};

TemplateValue raise_exception(const CallArguments& arguments) {
  const BoundArguments given("raise_exception", {"message"}, arguments);
  throw RaisedByTemplate(printed(given.required(0)));
}

/// In the local time zone, as datetime.now().strftime().
std::string formatted(std::time_t now, const std::string& format) {
  if (format.empty()) return "";
  std::tm parts{};
  localtime_r(&now, &parts);
  std::array<char, 1024> buffer;
  const std::size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &parts);
  if (size == 0) throw TemplateFault("strftime_now(): the format gives too much text, or none");
  return {buffer.data(), size};
}

Statements parsed(std::string_view source, const std::string& where) {
  if (source.size() > kLongestSource) {
    throw DataError(str("{}: {} bytes; {} are the most", where, source.size(), kLongestSource));
  }
  if (const std::size_t at = find_invalid_utf8(source); at != std::string::npos) {
    throw DataError(str("{}: not UTF-8 at byte {}", where, at));
  }
  try {
    return parse_template(source);
  } catch (const TemplateSyntaxFault& fault) {
    throw DataError(str("{}, line {}: {}", where, fault.line(), fault.what()));
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view source, std::string where)
    : where_(std::move(where)), statements_(parsed(source, where_)) {}

std::string ChatTemplate::render(const TemplateDict& variables, std::time_t now) const {
  TemplateDict all = variables;
  all.set("raise_exception", template_function(raise_exception));
  all.set("strftime_now", template_function([now](const CallArguments& arguments) -> TemplateValue {
            const BoundArguments given("strftime_now", {"format"}, arguments);
            return formatted(now, printed(given.required(0)));
          }));
  TemplateInterpreter interpreter(all);
  try {
    return interpreter.render(statements_);
  } catch (const RaisedByTemplate& raised) {
    throw DataError(str("{}, line {}, refuses: {}", where_, interpreter.line(), raised.what()));
  } catch (const TemplateFault& fault) {
    throw DataError(str("{}, line {}: {}", where_, interpreter.line(), fault.what()));
  }
}

TemplateDict chat_variables(const std::vector<ChatMessage>& messages) {
  std::vector<TemplateValue> list;
  for (const ChatMessage& message : messages) {
    TemplateDict one;
    one.set("role", message.role);
    one.set("content", message.content);
    list.emplace_back(std::move(one));
  }
  TemplateDict variables;
  variables.set("messages", std::move(list));
  variables.set("tools", None{});
  variables.set("documents", None{});
  variables.set("add_generation_prompt", true);
  return variables;
}

}  // namespace longspan
