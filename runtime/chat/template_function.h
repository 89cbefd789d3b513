// Something that a template can call and that is written in C++.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "runtime/chat/template_value.h"

namespace longspan {

class TemplateFunction : public TemplateObject {
 public:
  using Body = std::function<TemplateValue(const CallArguments&)>;

  explicit TemplateFunction(Body body) : body_(std::move(body)) {}

  std::string_view type_name() const override { return "function"; }
  std::optional<TemplateValue> attribute(const std::string&) override { return std::nullopt; }
  bool is_callable() const override { return true; }
  TemplateValue call(const CallArguments& arguments) override { return body_(arguments); }

 private:
  Body body_;
};

inline TemplateValue template_function(TemplateFunction::Body body) {
  return TemplateValue::Object(std::make_shared<TemplateFunction>(std::move(body)));
}

}  // namespace longspan
