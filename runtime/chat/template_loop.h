// What a template knows as `loop`, and what drives it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/chat/template_value.h"

namespace longspan {

/// Goes over items one by one. A condition is asked of an item only when it is its turn, or when
/// the body wants to know what follows: it may depend on what the body has set meanwhile.
class TemplateLoop : public TemplateObject, public std::enable_shared_from_this<TemplateLoop> {
 public:
  using Condition = std::function<bool(const TemplateValue&)>;  // empty: all pass

  /// `again` renders the body with other items, one level deeper; empty if the loop may not.
  TemplateLoop(std::vector<TemplateValue> items, Condition passes, int depth,
               std::function<TemplateValue(const TemplateValue&)> again);

  /// Goes to the next item; false at the end.
  bool advance();
  /// After the last turn: from now on it knows its numbers only.
  void leave();
  const TemplateValue& current() const { return *current_; }

  std::string_view type_name() const override { return "LoopContext"; }
  std::optional<TemplateValue> attribute(const std::string& name) override;
  bool is_callable() const override { return again_ != nullptr; }
  TemplateValue call(const CallArguments& arguments) override;

 private:
  std::optional<TemplateValue> take();
  const std::optional<TemplateValue>& after();
  std::int64_t length();
  TemplateValue cycle(const CallArguments& arguments) const;
  TemplateValue changed(const CallArguments& arguments);

  std::vector<TemplateValue> items_;
  std::size_t next_ = 0;
  Condition passes_;
  int depth_;  // 0 for the outermost
  std::function<TemplateValue(const TemplateValue&)> again_;
  std::int64_t index0_ = -1;
  std::optional<TemplateValue> before_, current_, after_;
  std::optional<std::int64_t> length_;
  std::optional<TemplateValue> last_changed_;
};

}  // namespace longspan
