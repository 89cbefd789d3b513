// The one thing of a template that changes: what `namespace()` makes.
#pragma once

#include <optional>
#include <string>

#include "runtime/chat/template_value.h"

namespace longspan {

class TemplateNamespace : public TemplateObject {
 public:
  std::string_view type_name() const override { return "Namespace"; }
  std::optional<TemplateValue> attribute(const std::string& name) override {
    const TemplateValue* found = values_.find(name);
    return found ? std::optional(*found) : std::nullopt;
  }
  void set(const std::string& name, TemplateValue value) { values_.set(name, std::move(value)); }
  /// Namespaces may hold each other in a ring; whoever made them lets go at the end.
  void clear() { values_ = {}; }

 private:
  TemplateDict values_;
};

}  // namespace longspan
