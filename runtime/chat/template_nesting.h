// How deep a template is inside itself, so that it ends before the stack does.
#pragma once

#include "comm/str.h"
#include "runtime/chat/template_budget.h"
#include "runtime/chat/template_value.h"

namespace longspan {

/// One level more while it lives.
class TemplateNesting {
 public:
  explicit TemplateNesting(int& depth) : depth_(depth) {
    if (depth_ >= kDeepestTemplate) {
      throw TemplateFault(str("goes more than {} levels deep", kDeepestTemplate));
    }
    ++depth_;
  }
  ~TemplateNesting() { --depth_; }
  TemplateNesting(const TemplateNesting&) = delete;
  TemplateNesting& operator=(const TemplateNesting&) = delete;

 private:
  int& depth_;
};

}  // namespace longspan
