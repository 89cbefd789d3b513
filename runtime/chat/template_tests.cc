#include "runtime/chat/template_tests.h"

#include <map>

#include "comm/str.h"
#include "runtime/chat/template_arguments.h"
#include "runtime/chat/template_filters.h"
#include "runtime/chat/template_operators.h"
#include "runtime/chat/unicode_text.h"
#include "runtime/chat/value_text.h"

namespace longspan {
namespace {

using Value = TemplateValue;
using Arguments = CallArguments;
using Test = bool (*)(const Value&, const Arguments&);

/// A test without arguments.
template <bool (*kPasses)(const Value&)>
bool plain(const Value& value, const Arguments& arguments) {
  const BoundArguments none("this test", {}, arguments);
  return kPasses(value);
}

/// A test against one other value.
template <bool (*kPasses)(const Value&, const Value&)>
bool against(const Value& value, const Arguments& arguments) {
  const BoundArguments given("this test", {"other"}, arguments);
  return kPasses(value, given.required(0));
}

bool is_callable(const Value& v) { return v.is_object() && v.object()->is_callable(); }
bool is_even(const Value& v) { return v.integer("the value of 'even'") % 2 == 0; }
bool is_odd(const Value& v) { return v.integer("the value of 'odd'") % 2 != 0; }
bool is_whole(const Value& v) { return v.is_integer(); }
bool is_iterable(const Value& v) {
  return v.is_text() || v.is_list() || v.is_dict() || v.is_undefined();
}
bool is_lower(const Value& v) {
  const std::string text = printed(v);
  return lower(text) == text && upper(text) != text;
}
bool is_upper(const Value& v) {
  const std::string text = printed(v);
  return upper(text) == text && lower(text) != text;
}
bool is_true(const Value& v) { return v.is_bool() && v.truth(); }
bool is_false(const Value& v) { return v.is_bool() && !v.truth(); }
bool is_defined(const Value& v) { return !v.is_undefined(); }

bool is_divisible(const Value& v, const Value& by) {
  const std::int64_t divisor = by.integer("the divisor of 'divisibleby'");
  if (divisor == 0) throw TemplateFault("division by zero");
  return divisor == -1 || v.integer("the value of 'divisibleby'") % divisor == 0;
}
bool is_same(const Value& a, const Value& b) {
  if (a.type_name() != b.type_name()) return false;
  const bool is_shared = a.is_list() || a.is_dict() || a.is_object();
  return is_shared ? a.identity() == b.identity() : equal(a, b);
}
bool is_in(const Value& v, const Value& container) { return contains(container, v); }
bool differs(const Value& a, const Value& b) { return !equal(a, b); }
bool is_greater(const Value& a, const Value& b) { return less(b, a); }
bool is_at_least(const Value& a, const Value& b) { return compares(">=", a, b); }
bool is_at_most(const Value& a, const Value& b) { return compares("<=", a, b); }
bool names_filter(const Value& v) { return v.is_text() && has_filter(v.text()); }
bool names_test(const Value& v) { return v.is_text() && has_test(v.text()); }

template <bool (Value::*kIs)() const>
bool is(const Value& v) {
  return (v.*kIs)();
}

const std::map<std::string_view, Test>& tests() {
  static const std::map<std::string_view, Test> table{
      {"boolean", plain<is<&Value::is_bool>>},
      {"callable", plain<is_callable>},
      {"defined", plain<is_defined>},
      {"divisibleby", against<is_divisible>},
      {"==", against<equal>},
      {"eq", against<equal>},
      {"equalto", against<equal>},
      {"even", plain<is_even>},
      {"false", plain<is_false>},
      {"filter", plain<names_filter>},
      {"float", plain<is<&Value::is_float>>},
      {"ge", against<is_at_least>},
      {"gt", against<is_greater>},
      {"greaterthan", against<is_greater>},
      {"in", against<is_in>},
      {"integer", plain<is_whole>},
      {"iterable", plain<is_iterable>},
      {"le", against<is_at_most>},
      {"lower", plain<is_lower>},
      {"lt", against<less>},
      {"lessthan", against<less>},
      {"mapping", plain<is<&Value::is_dict>>},
      {"ne", against<differs>},
      {"none", plain<is<&Value::is_none>>},
      {"number", plain<is<&Value::is_number>>},
      {"odd", plain<is_odd>},
      {"sameas", against<is_same>},
      {"sequence", plain<is_iterable>},
      {"string", plain<is<&Value::is_text>>},
      {"test", plain<names_test>},
      {"true", plain<is_true>},
      {"undefined", plain<is<&Value::is_undefined>>},
      {"upper", plain<is_upper>},
      {"!=", against<differs>},
      {">", against<is_greater>},
      {">=", against<is_at_least>},
      {"<", against<less>},
      {"<=", against<is_at_most>}};
  return table;
}

}  // namespace

bool has_test(std::string_view name) { return tests().contains(name); }

bool passes_test(const std::string& name, const TemplateValue& value,
                 const CallArguments& arguments) {
  const auto test = tests().find(name);
  if (test == tests().end()) throw TemplateFault(str("No test named '{}'.", name));
  return test->second(value, arguments);
}

}  // namespace longspan
