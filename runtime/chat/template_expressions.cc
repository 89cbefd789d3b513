// Expressions of TemplateInterpreter.
#include <algorithm>

#include "comm/str.h"
#include "runtime/chat/template_filters.h"
#include "runtime/chat/template_interpreter.h"
#include "runtime/chat/template_nesting.h"
#include "runtime/chat/template_operators.h"
#include "runtime/chat/template_tests.h"
#include "runtime/chat/value_text.h"

namespace longspan {

using Value = TemplateValue;

Value TemplateInterpreter::evaluate(const Expression& expression, const ScopePtr& scope) {
  const TemplateNesting nested(depth_);
  budget_.charge();
  line_ = expression.line;
  const auto part = [&](std::size_t i) { return evaluate(*expression.parts[i], scope); };
  using enum Expression::Kind;
  switch (expression.kind) {
    case kConstant:
      return expression.value;
    case kName:
      return look_up(*scope, expression.text);
    case kList:
    case kTuple:
      return {evaluate_all(expression.parts, scope), expression.kind == kTuple};
    case kDict:
      return evaluate_dict(expression, scope);
    case kAttribute:
      return attribute_of(part(0), expression.text, budget_);
    case kItem: {
      const Value value = part(0);
      return item_of(value, part(1), budget_);
    }
    case kSlice:
      return evaluate_slice(expression, scope);
    case kCall:
      return evaluate_call(expression, scope);
    case kFilter:
      return evaluate_filter(expression, scope);
    case kTest:
      return evaluate_test(expression, scope);
    case kNot:
      return !part(0).truth();
    case kNegative:
      return negated(part(0));
    case kPositive:
      return negated(negated(part(0)));
    case kAnd: {
      const Value left = part(0);
      return left.truth() ? part(1) : left;
    }
    case kOr: {
      const Value left = part(0);
      return left.truth() ? left : part(1);
    }
    case kConcat:
      return evaluate_concatenation(expression, scope);
    case kArithmetic: {
      const Value left = part(0);
      return arithmetic(expression.text, left, part(1), budget_);
    }
    case kCompare:
      return evaluate_comparison(expression, scope);
    case kConditional:
      if (part(1).truth()) return part(0);
      if (expression.parts[2]) return part(2);
      return Undefined{
          "the inline if-expression evaluated to false and no else section was defined."};
  }
  return None{};
}

std::vector<Value> TemplateInterpreter::evaluate_all(const std::vector<ExpressionPtr>& parts,
                                                     const ScopePtr& scope) {
  std::vector<Value> values;
  for (const ExpressionPtr& part : parts) values.push_back(evaluate(*part, scope));
  return values;
}

Value TemplateInterpreter::evaluate_dict(const Expression& expression, const ScopePtr& scope) {
  TemplateDict dict;
  for (std::size_t i = 0; i < expression.parts.size(); i += 2) {
    const Value key = evaluate(*expression.parts[i], scope);
    dict.set(key, evaluate(*expression.parts[i + 1], scope));
  }
  return dict;
}

Value TemplateInterpreter::evaluate_slice(const Expression& expression, const ScopePtr& scope) {
  const Value value = evaluate(*expression.parts[0], scope);
  const auto bound = [&](std::size_t i) -> std::optional<Value> {
    if (!expression.parts[i]) return std::nullopt;
    return evaluate(*expression.parts[i], scope);
  };
  const auto from = bound(1), to = bound(2), step = bound(3);
  return slice_of(value, from, to, step, budget_);
}

/// All parts but the first.
CallArguments TemplateInterpreter::arguments_of(const Expression& expression,
                                                const ScopePtr& scope) {
  CallArguments arguments;
  for (std::size_t i = 1; i < expression.parts.size(); ++i) {
    arguments.positional.push_back(evaluate(*expression.parts[i], scope));
  }
  for (const auto& [name, value] : expression.named) {
    arguments.named.emplace_back(name, evaluate(*value, scope));
  }
  return arguments;
}

Value TemplateInterpreter::evaluate_call(const Expression& expression, const ScopePtr& scope) {
  const Value function = evaluate(*expression.parts[0], scope);
  const CallArguments arguments = arguments_of(expression, scope);
  line_ = expression.line;  // where a template that raises does so
  if (function.is_undefined()) refuse_undefined(function);
  if (!function.is_object()) {
    throw TemplateFault(str("'{}' object is not callable", function.type_name()));
  }
  return function.object()->call(arguments);
}

Value TemplateInterpreter::evaluate_filter(const Expression& expression, const ScopePtr& scope) {
  const Value value = evaluate(*expression.parts[0], scope);
  return filtered(expression.text, value, arguments_of(expression, scope), budget_);
}

/// A filter whose innermost value is missing: `value` takes its place.
Value TemplateInterpreter::filter_chain(const Expression& chain, const Value& value,
                                        const ScopePtr& scope) {
  const TemplateNesting nested(depth_);
  const ExpressionPtr& inner = chain.parts[0];
  const Value input = inner ? filter_chain(*inner, value, scope) : value;
  return filtered(chain.text, input, arguments_of(chain, scope), budget_);
}

Value TemplateInterpreter::evaluate_test(const Expression& expression, const ScopePtr& scope) {
  const Value value = evaluate(*expression.parts[0], scope);
  const CallArguments arguments = arguments_of(expression, scope);
  budget_.charge(value.weight());
  for (const Value& argument : arguments.positional) budget_.charge(argument.weight());
  return passes_test(expression.text, value, arguments);
}

Value TemplateInterpreter::evaluate_comparison(const Expression& expression,
                                               const ScopePtr& scope) {
  Value left = evaluate(*expression.parts[0], scope);
  for (std::size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = evaluate(*expression.parts[i + 1], scope);
    budget_.charge(left.weight() + right.weight());
    if (!compares(expression.operators[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value TemplateInterpreter::evaluate_concatenation(const Expression& expression,
                                                  const ScopePtr& scope) {
  std::string text;
  for (const Value& part : evaluate_all(expression.parts, scope)) {
    budget_.charge(part.weight());
    const std::string more = printed(part);
    budget_.charge_text(text.size() + more.size() > kMostTemplateBytes ? text.size() + more.size()
                                                                       : more.size());
    text += more;
  }
  return text;
}

}  // namespace longspan
