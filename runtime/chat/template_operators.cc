#include "runtime/chat/template_operators.h"

#include <algorithm>
#include <cmath>

#include "comm/str.h"
#include "runtime/chat/template_methods.h"
#include "runtime/chat/unicode_text.h"
#include "runtime/chat/value_text.h"

namespace longspan {
namespace {

using Value = TemplateValue;

[[noreturn]] void refuse_overflow() { throw TemplateFault("a number needs more than 64 bits"); }

std::int64_t power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1 && __builtin_mul_overflow(result, base, &result)) refuse_overflow();
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) refuse_overflow();
  }
  return result;
}

std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
  if (b == -1) {  // the one quotient that can overflow
    std::int64_t result = 0;
    if (__builtin_sub_overflow(std::int64_t{0}, a, &result)) refuse_overflow();
    return result;
  }
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

Value of_integers(std::string_view sign, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (sign == "+") {
    if (__builtin_add_overflow(a, b, &result)) refuse_overflow();
    return result;
  }
  if (sign == "-") {
    if (__builtin_sub_overflow(a, b, &result)) refuse_overflow();
    return result;
  }
  if (sign == "*") {
    if (__builtin_mul_overflow(a, b, &result)) refuse_overflow();
    return result;
  }
  if (sign == "**") {
    if (b >= 0) return power(a, b);
    return std::pow(static_cast<double>(a), static_cast<double>(b));
  }
  if (b == 0) throw TemplateFault("division by zero");
  if (sign == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (sign == "//") return floor_quotient(a, b);
  return b == -1 ? 0 : a - floor_quotient(a, b) * b;
}

Value of_reals(std::string_view sign, double a, double b) {
  if (sign == "+") return a + b;
  if (sign == "-") return a - b;
  if (sign == "*") return a * b;
  if (sign == "**") return std::pow(a, b);
  if (b == 0) throw TemplateFault("division by zero");
  if (sign == "/") return a / b;
  if (sign == "//") return std::floor(a / b);
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value repeated(const Value& value, std::int64_t times, TemplateBudget& budget) {
  times = std::max<std::int64_t>(times, 0);
  const std::size_t size = value.is_text() ? value.text().size() : value.list().items.size();
  // Before multiplying: what is too much for the budget is also too much for a size.
  if (size > 0 && static_cast<std::size_t>(times) > kMostTemplateBytes / size) {
    budget.charge_text(kMostTemplateBytes + 1);
  }
  if (value.is_text()) {
    budget.charge_text(size * static_cast<std::size_t>(times));
    std::string text;
    for (std::int64_t i = 0; i < times && size > 0; ++i) text += value.text();
    return text;
  }
  budget.charge(size * static_cast<std::size_t>(times));
  std::vector<Value> items;
  for (std::int64_t i = 0; i < times && size > 0; ++i) {
    items.insert(items.end(), value.list().items.begin(), value.list().items.end());
  }
  return {std::move(items), value.list().is_tuple};
}

bool is_repeatable(const Value& value) { return value.is_text() || value.is_list(); }
bool is_whole(const Value& value) { return value.is_integer() || value.is_bool(); }

/// "dict object", as Jinja names it.
std::string described(const Value& value) {
  return value.is_none() ? "None" : str("{} object", value.type_name());
}

Value missing_attribute(const Value& value, const std::string& name) {
  return Undefined{str("'{}' has no attribute '{}'", described(value), name)};
}

Value missing_item(const Value& value, const Value& key) {
  if (key.is_text()) return missing_attribute(value, key.text());
  return Undefined{str("{} has no element {}", described(value), python_repr(key))};
}

/// A method, or the attribute of an object.
std::optional<Value> own_attribute(const Value& value, const std::string& name,
                                   TemplateBudget& budget) {
  if (value.is_object()) return value.object()->attribute(name);
  return method_of(value, name, budget);
}

std::optional<Value> own_item(const Value& value, const Value& key) {
  if (value.is_dict()) {
    const Value* found = is_hashable(key) ? value.dict().find(key) : nullptr;
    return found ? std::optional(*found) : std::nullopt;
  }
  if (!is_whole(key) || !is_repeatable(value)) return std::nullopt;
  const auto at = [&](std::size_t size) {
    const std::int64_t index = key.integer("an index");
    return index < 0 ? index + static_cast<std::int64_t>(size) : index;
  };
  if (value.is_list()) {
    const std::vector<Value>& items = value.list().items;
    const std::int64_t index = at(items.size());
    if (index < 0 || index >= std::ssize(items)) return std::nullopt;
    return items[index];
  }
  const std::vector<std::string_view> all = characters(value.text());
  const std::int64_t index = at(all.size());
  if (index < 0 || index >= std::ssize(all)) return std::nullopt;
  return Value(std::string(all[index]));
}

/// The indices that Python's [from:to:step] takes of `size` elements.
std::vector<std::int64_t> slice_indices(std::int64_t size, const std::optional<Value>& from,
                                        const std::optional<Value>& to,
                                        const std::optional<Value>& step) {
  const auto given = [](const std::optional<Value>& bound) { return bound && !bound->is_none(); };
  const std::int64_t by = given(step) ? step->integer("slice step") : 1;
  if (by == 0) throw TemplateFault("slice step cannot be zero");
  const std::int64_t least = by > 0 ? 0 : -1, most = by > 0 ? size : size - 1;
  const auto bound = [&](const std::optional<Value>& value, std::int64_t fallback) {
    if (!given(value)) return fallback;
    const std::int64_t index = value->integer("slice index");
    return std::clamp(index < 0 ? index + size : index, least, most);
  };
  const std::int64_t first = bound(from, by > 0 ? 0 : size - 1);
  const std::int64_t end = bound(to, by > 0 ? size : -1);
  std::vector<std::int64_t> indices;
  for (std::int64_t i = first; by > 0 ? i < end : i > end;) {
    indices.push_back(i);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  return indices;
}

}  // namespace

TemplateValue arithmetic(std::string_view sign, const TemplateValue& a, const TemplateValue& b,
                         TemplateBudget& budget) {
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  if (is_whole(a) && is_whole(b)) return of_integers(sign, a.integer(""), b.integer(""));
  if (a.is_number() && b.is_number()) return of_reals(sign, a.real(), b.real());
  if (sign == "+" && a.is_text() && b.is_text()) {
    budget.charge_text(a.text().size() + b.text().size());
    return a.text() + b.text();
  }
  if (sign == "+" && a.is_list() && b.is_list() && a.list().is_tuple == b.list().is_tuple) {
    std::vector<Value> items = a.list().items;
    items.insert(items.end(), b.list().items.begin(), b.list().items.end());
    budget.charge(items.size());
    return {std::move(items), a.list().is_tuple};
  }
  if (sign == "*" && is_repeatable(a) && is_whole(b)) return repeated(a, b.integer(""), budget);
  if (sign == "*" && is_whole(a) && is_repeatable(b)) return repeated(b, a.integer(""), budget);
  if (sign == "%" && a.is_text()) throw TemplateFault("text % values is not supported; use ~");
  throw TemplateFault(
      str("unsupported operand type(s) for {}: '{}' and '{}'", sign, a.type_name(), b.type_name()));
}

TemplateValue negated(const TemplateValue& value) {
  if (value.is_float()) return -value.real();
  if (is_whole(value)) return of_integers("-", 0, value.integer(""));
  if (value.is_undefined()) refuse_undefined(value);
  throw TemplateFault(str("bad operand type for unary -: '{}'", value.type_name()));
}

bool compares(std::string_view sign, const TemplateValue& a, const TemplateValue& b) {
  if (sign == "==") return equal(a, b);
  if (sign == "!=") return !equal(a, b);
  if (sign == "<") return less(a, b);
  if (sign == ">") return less(b, a);
  if (sign == "<=") return less(a, b) || equal(a, b);
  if (sign == ">=") return less(b, a) || equal(a, b);
  return contains(b, a) == (sign == "in");
}

TemplateValue attribute_of(const TemplateValue& value, const std::string& name,
                           TemplateBudget& budget) {
  if (value.is_undefined()) refuse_undefined(value);
  if (auto own = own_attribute(value, name, budget)) return *own;
  if (value.is_dict()) {
    if (const Value* item = value.dict().find(name)) return *item;
  }
  return missing_attribute(value, name);
}

TemplateValue item_of(const TemplateValue& value, const TemplateValue& key,
                      TemplateBudget& budget) {
  if (value.is_undefined()) refuse_undefined(value);
  budget.charge(key.weight() + (value.is_text() ? value.weight() : 0));
  if (auto item = own_item(value, key)) return *item;
  if (key.is_text()) {
    if (auto own = own_attribute(value, key.text(), budget)) return *own;
  }
  return missing_item(value, key);
}

TemplateValue slice_of(const TemplateValue& value, const std::optional<TemplateValue>& from,
                       const std::optional<TemplateValue>& to,
                       const std::optional<TemplateValue>& step, TemplateBudget& budget) {
  if (value.is_undefined()) refuse_undefined(value);
  if (value.is_text()) {
    budget.charge_text(value.text().size());
    const std::vector<std::string_view> all = characters(value.text());
    std::string text;
    for (std::int64_t i : slice_indices(std::ssize(all), from, to, step)) text += all[i];
    return text;
  }
  if (!value.is_list()) throw TemplateFault(str("'{}' object cannot be sliced", value.type_name()));
  const std::vector<Value>& all = value.list().items;
  std::vector<Value> items;
  for (std::int64_t i : slice_indices(std::ssize(all), from, to, step)) items.push_back(all[i]);
  budget.charge(items.size());
  return {std::move(items), value.list().is_tuple};
}

}  // namespace longspan
