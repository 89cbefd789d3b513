#include "runtime/chat/template_filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "comm/str.h"
#include "runtime/chat/template_arguments.h"
#include "runtime/chat/template_methods.h"
#include "runtime/chat/template_operators.h"
#include "runtime/chat/template_tests.h"
#include "runtime/chat/unicode_text.h"
#include "runtime/chat/value_text.h"

namespace longspan {
namespace {

using Value = TemplateValue;
using Values = std::vector<Value>;

/// A filter at work.
struct Use {
  const Value& value;
  const CallArguments& arguments;
  TemplateBudget& budget;

  BoundArguments bound(std::string_view name, std::initializer_list<std::string_view> names) const {
    return {name, names, arguments};
  }
  /// The same for filters that pass over whatever is false, none among it.
  Values items_if_any() const { return value.truth() ? items() : Values(); }
  Values items() const {
    budget.charge(value.weight());
    return elements(value);
  }
  /// The value as text.
  std::string text() const {
    budget.charge(value.weight());
    return printed(value);
  }
};
using Filter = Value (*)(const Use&);

// Of numbers.

Value absolute(const Use& use) {
  if (use.value.is_float()) return std::abs(use.value.real());
  const std::int64_t number = use.value.integer("the value of 'abs'");
  return number < 0 ? negated(number) : number;
}

/// All of `text` but the white space around it as a number.
template <typename Number>
std::optional<Number> read_number(std::string_view text, auto... how) {
  text = stripped(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, how...);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::int64_t> truncated(double number) {
  if (!(std::abs(number) < 9.2e18)) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

Value to_int(const Use& use) {
  const BoundArguments given = use.bound("int", {"default", "base"});
  const Value fallback = given.value_or(0, std::int64_t{0});
  const Value& value = use.value;
  std::optional<std::int64_t> number;
  if (value.is_float()) {
    number = truncated(value.real());
  } else if (value.is_number()) {
    number = value.integer("");
  } else if (value.is_text()) {
    const std::int64_t base = given.integer_or(1, 10);
    if (base < 2 || base > 36) throw TemplateFault("int() base must be >= 2 and <= 36");
    number = read_number<std::int64_t>(value.text(), static_cast<int>(base));
    if (!number) {
      if (const auto real = read_number<double>(value.text())) number = truncated(*real);
    }
  }
  return number ? Value(*number) : fallback;
}

Value to_float(const Use& use) {
  const BoundArguments given = use.bound("float", {"default"});
  if (use.value.is_number()) return use.value.real();
  if (use.value.is_text()) {
    if (const auto number = read_number<double>(use.value.text())) return *number;
  }
  return given.value_or(0, 0.0);
}

Value rounded(const Use& use) {
  const BoundArguments given = use.bound("round", {"precision", "method"});
  const std::int64_t precision = given.integer_or(0, 0);
  const std::string method = printed(given.value_or(1, "common"));
  if (std::abs(precision) > 300) throw TemplateFault("round() to more than 300 digits");
  if (!use.value.is_number()) {
    throw TemplateFault(str("type {} doesn't define __round__ method", use.value.type_name()));
  }
  const double number = use.value.real(), scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(number * scale) / scale;
  if (method == "floor") return std::floor(number * scale) / scale;
  if (method != "common") throw TemplateFault("method must be common, ceil or floor");
  if (!use.value.is_float() && precision >= 0) return use.value;  // an int stays one
  if (precision <= 0) {
    const double rest = std::nearbyint(number * scale) / scale;
    if (use.value.is_float()) return rest;
    const auto whole = truncated(rest);
    if (!whole) throw TemplateFault("a number needs more than 64 bits");
    return *whole;
  }
  char digits[700];
  const auto end = std::to_chars(digits, digits + sizeof digits, number, std::chars_format::fixed,
                                 static_cast<int>(precision));
  return read_number<double>(std::string_view(digits, end.ptr - digits)).value_or(number);
}

// Of text.

template <std::string (*kMapped)(std::string_view)>
Value mapped_text(const Use& use) {
  const BoundArguments none = use.bound("this filter", {});
  return kMapped(use.text());
}

/// Words begin after white space, '-' and opening brackets, unlike str.title().
std::string title_of(std::string_view text) {
  constexpr std::string_view kBefore = "-({[<";
  std::string out;
  bool begins = true;
  for (std::string_view c : characters(text)) {
    const bool separates = is_space(code_point(c)) || kBefore.find(c) != std::string_view::npos;
    out += separates ? std::string(c) : begins ? upper(c) : lower(c);
    begins = separates;
  }
  return out;
}

Value trim(const Use& use) {
  const BoundArguments given = use.bound("trim", {"chars"});
  const std::string text = use.text();
  if (!given[0] || given[0]->is_none()) return std::string(stripped(text));
  return std::string(stripped(text, printed(*given[0])));
}

Value replace(const Use& use) {
  const BoundArguments given = use.bound("replace", {"old", "new", "count"});
  CallArguments arguments{{printed(given.required(0)), printed(given.required(1))}, {}};
  if (given[2] && !given[2]->is_none()) arguments.positional.push_back(*given[2]);
  const Value method = *method_of(use.text(), "replace", use.budget);
  return method.object()->call(arguments);
}

Value to_text(const Use& use) { return use.text(); }

Value indent(const Use& use) {
  const BoundArguments given = use.bound("indent", {"width", "first", "blank"});
  const Value width = given.value_or(0, std::int64_t{4});
  const std::int64_t spaces = width.is_text() ? 0 : width.integer("the width of 'indent'");
  use.budget.charge_text(static_cast<std::size_t>(std::max<std::int64_t>(spaces, 0)));
  const std::string by =
      width.is_text() ? width.text() : std::string(std::max<std::int64_t>(spaces, 0), ' ');
  const std::vector<std::string> lines = lines_of(use.text() + "\n");
  std::string out = given.flag(1) ? by : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\n";
    if (i > 0 && (given.flag(2) || !lines[i].empty())) out += by;
    out += lines[i];
    use.budget.charge_text(out.size() > kMostTemplateBytes ? out.size() : by.size());
  }
  return out;
}

Value to_json(const Use& use) {
  const BoundArguments given =
      use.bound("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style{.ascii_only = given.flag(0), .sort_keys = given.flag(3)};
  if (const Value width = given.value_or(1, None{}); width.is_text()) {
    style.indent = width.text();
  } else if (!width.is_none()) {
    const std::int64_t spaces = width.integer("the indent of 'tojson'");
    if (spaces > 64) throw TemplateFault("an indent of more than 64");
    style.indent = std::string(std::max<std::int64_t>(spaces, 0), ' ');
  }
  if (style.indent) style.item_separator = ",";
  if (const Value marks = given.value_or(2, None{}); !marks.is_none()) {
    const Values both = elements(marks);
    if (both.size() != 2) throw TemplateFault("separators are two texts");
    style.item_separator = printed(both[0]);
    style.key_separator = printed(both[1]);
  }
  use.budget.charge(use.value.weight());
  std::string text = json_text(use.value, style);
  use.budget.charge_text(text.size());
  return text;
}

// Of what has elements.

Value length(const Use& use) {
  const Value& value = use.value;
  if (value.is_text()) return static_cast<std::int64_t>(count_characters(value.text()));
  if (value.is_list()) return std::ssize(value.list().items);
  if (value.is_dict()) return std::ssize(value.dict().items());
  if (value.is_undefined()) return std::int64_t{0};
  throw TemplateFault(str("object of type '{}' has no len()", value.type_name()));
}

Value first(const Use& use) {
  Values items = use.items();
  if (items.empty()) return Undefined{"No first item, sequence was empty."};
  return items.front();
}

Value last(const Use& use) {
  Values items = use.items();
  if (items.empty()) return Undefined{"No last item, sequence was empty."};
  return items.back();
}

Value to_list(const Use& use) { return use.items(); }

Value reversed(const Use& use) {
  Values items = use.items();
  std::ranges::reverse(items);
  if (!use.value.is_text()) return items;
  std::string text;
  for (const Value& item : items) text += item.text();
  return text;
}

Value dict_pairs(const Use& use) {
  if (use.value.is_undefined()) return Values{};
  if (!use.value.is_dict()) throw TemplateFault("Can only get item pairs from a mapping.");
  use.budget.charge(use.value.dict().items().size());
  return items_of(use.value.dict());
}

/// "a.b.0" of an item, as Jinja's filters take attributes; an integer is one index.
Value attribute_path(const Value& item, const Value& path, TemplateBudget& budget) {
  if (!path.is_text()) return item_of(item, path, budget);
  Value at = item;
  for (const std::string& part : split(path.text(), ".")) {
    const bool is_index =
        !part.empty() && std::ranges::all_of(part, [](char c) { return is_digit(c); });
    const auto index = is_index ? read_number<std::int64_t>(part) : std::nullopt;
    at = item_of(at, index ? Value(*index) : Value(part), budget);
  }
  return at;
}

/// What sorting and comparing look at: an attribute if one is named, without case unless asked.
Value sort_key(const Value& item, const Value& attribute, bool case_sensitive,
               TemplateBudget& budget) {
  const Value key = attribute.is_none() ? item : attribute_path(item, attribute, budget);
  return !case_sensitive && key.is_text() ? Value(lower(key.text())) : key;
}

void stable_sort(Values& items, const Values& keys, bool reverse, TemplateBudget& budget) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    budget.charge();
    return reverse ? less(keys[b], keys[a]) : less(keys[a], keys[b]);
  });
  Values sorted;
  for (std::size_t i : order) sorted.push_back(items[i]);
  items = std::move(sorted);
}

Value sort(const Use& use) {
  const BoundArguments given = use.bound("sort", {"reverse", "case_sensitive", "attribute"});
  Values items = use.items(), keys;
  for (const Value& item : items) {
    keys.push_back(sort_key(item, given.value_or(2, None{}), given.flag(1), use.budget));
  }
  stable_sort(items, keys, given.flag(0), use.budget);
  return items;
}

Value sort_dict(const Use& use) {
  const BoundArguments given = use.bound("dictsort", {"case_sensitive", "by", "reverse"});
  const std::string by = printed(given.value_or(1, "key"));
  if (by != "key" && by != "value") {
    throw TemplateFault("You can only sort by either \"key\" or \"value\"");
  }
  if (use.value.is_undefined()) refuse_undefined(use.value);
  if (!use.value.is_dict()) {
    throw TemplateFault(str("'{} object' has no attribute 'items'", use.value.type_name()));
  }
  Values items = items_of(use.value.dict()).list().items, keys;
  use.budget.charge(items.size());
  const Value at = std::int64_t{by == "key" ? 0 : 1};
  for (const Value& item : items) keys.push_back(sort_key(item, at, given.flag(0), use.budget));
  stable_sort(items, keys, given.flag(2), use.budget);
  return items;
}

Value unique(const Use& use) {
  const BoundArguments given = use.bound("unique", {"case_sensitive", "attribute"});
  TemplateDict seen;
  for (const Value& item : use.items()) {
    const Value key = sort_key(item, given.value_or(1, None{}), given.flag(0), use.budget);
    if (!seen.find(key)) seen.set(key, item);
  }
  Values items;
  for (const auto& [key, item] : seen.items()) items.push_back(item);
  return items;
}

template <bool kLargest>
Value extreme(const Use& use) {
  const BoundArguments given = use.bound(kLargest ? "max" : "min", {"case_sensitive", "attribute"});
  std::optional<Value> best, best_key;
  for (const Value& item : use.items()) {
    const Value key = sort_key(item, given.value_or(1, None{}), given.flag(0), use.budget);
    if (best && !(kLargest ? less(*best_key, key) : less(key, *best_key))) continue;
    best = item;
    best_key = key;
  }
  return best ? *best : Value(Undefined{"No aggregated item, sequence was empty."});
}

Value sum(const Use& use) {
  const BoundArguments given = use.bound("sum", {"attribute", "start"});
  const Value attribute = given.value_or(0, None{});
  Value total = given.value_or(1, std::int64_t{0});
  for (const Value& item : use.items()) {
    total = arithmetic("+", total,
                       attribute.is_none() ? item : attribute_path(item, attribute, use.budget),
                       use.budget);
  }
  return total;
}

Value join(const Use& use) {
  const BoundArguments given = use.bound("join", {"d", "attribute"});
  const std::string between = printed(given.value_or(0, ""));
  const Value attribute = given.value_or(1, None{});
  std::string out;
  bool is_first = true;
  for (const Value& item : use.items()) {
    if (!std::exchange(is_first, false)) out += between;
    const std::size_t before = out.size();
    out += printed(attribute.is_none() ? item : attribute_path(item, attribute, use.budget));
    use.budget.charge_text(out.size() > kMostTemplateBytes ? out.size() : out.size() - before);
  }
  return out;
}

Value batch(const Use& use) {
  const BoundArguments given = use.bound("batch", {"linecount", "fill_with"});
  const std::int64_t width = given.required(0).integer("the size of a batch");
  Values batches, current;
  for (const Value& item : use.items()) {
    if (std::ssize(current) == width) batches.emplace_back(std::exchange(current, {}));
    current.push_back(item);
  }
  if (current.empty()) return batches;
  if (given[1] && !given[1]->is_none()) {
    for (; std::ssize(current) < width; use.budget.charge()) current.push_back(*given[1]);
  }
  batches.emplace_back(std::move(current));
  return batches;
}

/// The arguments behind the first `count`, for the filter or test that those name.
CallArguments rest_of(const CallArguments& arguments, std::size_t count) {
  CallArguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}

Value map(const Use& use) {
  Values out;
  if (use.arguments.positional.empty()) {
    const BoundArguments given = use.bound("map", {"attribute", "default"});
    for (const Value& item : use.items_if_any()) {
      Value found = attribute_path(item, given.required(0), use.budget);
      out.push_back(found.is_undefined() && given[1] ? *given[1] : std::move(found));
    }
    return out;
  }
  const std::string name = printed(use.arguments.positional[0]);
  const CallArguments rest = rest_of(use.arguments, 1);
  for (const Value& item : use.items_if_any()) {
    out.push_back(filtered(name, item, rest, use.budget));
  }
  return out;
}

/// select, reject, selectattr and rejectattr: by a test, or by truth if none is named.
template <bool kKeeps, bool kByAttribute>
Value choose(const Use& use) {
  const std::size_t before = kByAttribute ? 1 : 0;
  if (use.arguments.positional.size() < before) {
    throw TemplateFault("Missing parameter for attribute name");
  }
  const bool has_named_test = use.arguments.positional.size() > before;
  std::string name;
  CallArguments rest;
  if (has_named_test) {
    name = printed(use.arguments.positional[before]);
    rest = rest_of(use.arguments, before + 1);
  }
  Values out;
  for (const Value& item : use.items_if_any()) {
    const Value looked_at =
        kByAttribute ? attribute_path(item, use.arguments.positional[0], use.budget) : item;
    use.budget.charge(looked_at.weight());
    const bool passes = has_named_test ? passes_test(name, looked_at, rest) : looked_at.truth();
    if (passes == kKeeps) out.push_back(item);
  }
  return out;
}

// Of anything.

Value fallback(const Use& use) {
  const BoundArguments given = use.bound("default", {"default_value", "boolean"});
  const bool stays = !use.value.is_undefined() && !(given.flag(1) && !use.value.truth());
  return stays ? use.value : given.value_or(0, "");
}

Value attribute(const Use& use) {
  const BoundArguments given = use.bound("attr", {"name"});
  return attribute_of(use.value, printed(given.required(0)), use.budget);
}

Value same(const Use& use) { return use.text(); }

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> table{{"abs", absolute},
                                                        {"attr", attribute},
                                                        {"batch", batch},
                                                        {"capitalize", mapped_text<capitalized>},
                                                        {"count", length},
                                                        {"d", fallback},
                                                        {"default", fallback},
                                                        {"dictsort", sort_dict},
                                                        {"first", first},
                                                        {"float", to_float},
                                                        {"indent", indent},
                                                        {"int", to_int},
                                                        {"items", dict_pairs},
                                                        {"join", join},
                                                        {"last", last},
                                                        {"length", length},
                                                        {"list", to_list},
                                                        {"lower", mapped_text<lower>},
                                                        {"map", map},
                                                        {"max", extreme<true>},
                                                        {"min", extreme<false>},
                                                        {"reject", choose<false, false>},
                                                        {"rejectattr", choose<false, true>},
                                                        {"replace", replace},
                                                        {"reverse", reversed},
                                                        {"round", rounded},
                                                        {"safe", same},
                                                        {"select", choose<true, false>},
                                                        {"selectattr", choose<true, true>},
                                                        {"sort", sort},
                                                        {"string", to_text},
                                                        {"sum", sum},
                                                        {"title", mapped_text<title_of>},
                                                        {"tojson", to_json},
                                                        {"trim", trim},
                                                        {"unique", unique},
                                                        {"upper", mapped_text<upper>}};
  return table;
}

}  // namespace

bool has_filter(std::string_view name) { return filters().contains(name); }

TemplateValue filtered(const std::string& name, const TemplateValue& value,
                       const CallArguments& arguments, TemplateBudget& budget) {
  budget.charge();
  const auto filter = filters().find(name);
  if (filter == filters().end()) throw TemplateFault(str("No filter named '{}'.", name));
  return filter->second({value, arguments, budget});
}

}  // namespace longspan
