// Our side of tests/oracles/chat_template_oracle.py: a JSON object a line, {"template",
// "variables"}, becomes {"text"} or {"error"}.
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "comm/error.h"
#include "runtime/chat/chat_template.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

TemplateValue value_of(const json& from) {
  if (from.is_boolean()) return from.get<bool>();
  if (from.is_number_integer()) return from.get<std::int64_t>();
  if (from.is_number()) return from.get<double>();
  if (from.is_string()) return from.get<std::string>();
  if (from.is_array()) {
    std::vector<TemplateValue> items;
    for (const json& item : from) items.push_back(value_of(item));
    return items;
  }
  if (!from.is_object()) return None{};
  TemplateDict dict;
  for (const auto& [key, item] : from.items()) dict.set(key, value_of(item));
  return dict;
}

json rendered(const json& request) {
  try {
    const ChatTemplate chat(request["template"].get<std::string>(), "template");
    const std::time_t now = request.value("now", std::time_t{0});
    return {{"text", chat.render(value_of(request["variables"]).dict(), now)}};
  } catch (const DataError& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace
}  // namespace longspan

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << longspan::rendered(longspan::json::parse(line)).dump() << std::endl;
  }
}
