// Runs a parsed template: writes text, and keeps what names mean.
//
// Names live in scopes. A loop's turn, a macro's call and the body of with, call, filter and a set
// block have one each, within the one where they are written; `if` has none. Names are looked up
// from the inside out when they are used.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/chat/template_budget.h"
#include "runtime/chat/template_namespace.h"
#include "runtime/chat/template_syntax.h"

namespace longspan {

class TemplateInterpreter {
 public:
  /// `variables`: what names mean at the start, functions among them. range, namespace and dict are
  /// there besides.
  explicit TemplateInterpreter(const TemplateDict& variables);
  ~TemplateInterpreter();
  TemplateInterpreter(const TemplateInterpreter&) = delete;
  TemplateInterpreter& operator=(const TemplateInterpreter&) = delete;

  /// Throws TemplateFault; line() then says where.
  std::string render(const Statements& statements);
  int line() const { return line_; }

 private:
  struct Scope;
  using ScopePtr = std::shared_ptr<Scope>;
  class Macro;
  enum class Flow { kOn, kBreak, kContinue };

  static ScopePtr inside(const ScopePtr& scope);
  TemplateValue look_up(const Scope& scope, const std::string& name) const;
  void write(std::string& out, const std::string& text);
  void write_value(std::string& out, const TemplateValue& value);

  Flow run(const Statements& statements, const ScopePtr& scope, std::string& out);
  Flow run(const Statement& statement, const ScopePtr& scope, std::string& out);
  std::string text_of(const Statements& body, const ScopePtr& scope);
  Flow run_if(const Statement& statement, const ScopePtr& scope, std::string& out);
  Flow run_for(const Statement& statement, const ScopePtr& scope, std::string& out);
  Flow run_loop(const Statement& statement, const ScopePtr& scope, const TemplateValue& over,
                int depth, std::string& out);
  Flow run_with(const Statement& statement, const ScopePtr& scope, std::string& out);
  void run_call(const Statement& statement, const ScopePtr& scope, std::string& out);
  void set_block(const Statement& statement, const ScopePtr& scope);
  void assign(const Target& target, const TemplateValue& value, const ScopePtr& scope);
  TemplateValue make_macro(const Statement& statement, const ScopePtr& scope);
  TemplateValue call_macro(const Statement& macro, const ScopePtr& scope,
                           const CallArguments& arguments);

  TemplateValue evaluate(const Expression& expression, const ScopePtr& scope);
  TemplateValue evaluate_call(const Expression& expression, const ScopePtr& scope);
  TemplateValue evaluate_filter(const Expression& expression, const ScopePtr& scope);
  TemplateValue filter_chain(const Expression& chain, const TemplateValue& value,
                             const ScopePtr& scope);
  TemplateValue evaluate_test(const Expression& expression, const ScopePtr& scope);
  TemplateValue evaluate_comparison(const Expression& expression, const ScopePtr& scope);
  TemplateValue evaluate_concatenation(const Expression& expression, const ScopePtr& scope);
  TemplateValue evaluate_slice(const Expression& expression, const ScopePtr& scope);
  TemplateValue evaluate_dict(const Expression& expression, const ScopePtr& scope);
  std::vector<TemplateValue> evaluate_all(const std::vector<ExpressionPtr>& parts,
                                          const ScopePtr& scope);
  CallArguments arguments_of(const Expression& expression, const ScopePtr& scope);

  TemplateValue make_namespace(const CallArguments& arguments);
  TemplateValue make_range(const CallArguments& arguments);

  TemplateBudget budget_;
  ScopePtr globals_;
  std::vector<std::shared_ptr<TemplateNamespace>> namespaces_;
  int depth_ = 0;
  int line_ = 1;
};

}  // namespace longspan
