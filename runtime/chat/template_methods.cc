#include "runtime/chat/template_methods.h"

#include <algorithm>
#include <array>
#include <map>

#include "comm/str.h"
#include "runtime/chat/template_arguments.h"
#include "runtime/chat/template_function.h"
#include "runtime/chat/unicode_text.h"
#include "runtime/chat/value_text.h"

namespace longspan {
namespace {

using Value = TemplateValue;
using Arguments = CallArguments;

/// What a method needs beside its arguments.
struct Self {
  const Value& value;
  TemplateBudget& budget;

  const std::string& text() const { return value.text(); }
};
using Method = Value (*)(const Self&, const Arguments&);

const std::string& expect_text(const Value& value) {
  if (value.is_undefined()) refuse_undefined(value);
  if (!value.is_text()) throw TemplateFault(str("must be str, not {}", value.type_name()));
  return value.text();
}

Value list_of(const std::vector<std::string>& texts, TemplateBudget& budget) {
  budget.charge(texts.size());
  return std::vector<Value>(texts.begin(), texts.end());
}

std::size_t at_most(const BoundArguments& given, std::size_t index) {
  const std::int64_t most = given.integer_or(index, -1);
  return most < 0 ? std::string::npos : static_cast<std::size_t>(most);
}

/// Searching from the end takes time that grows with the product of both.
void charge_backwards(const Self& self, const std::string& part) {
  self.budget.charge((self.text().size() / 64 + 1) * (part.size() / 64));
}

template <bool kLeft, bool kRight>
Value strip(const Self& self, const Arguments& arguments) {
  const BoundArguments given("strip", {"chars"}, arguments);
  const Ends ends{kLeft, kRight};
  if (!given[0] || given[0]->is_none()) return std::string(stripped(self.text(), ends));
  return std::string(stripped(self.text(), expect_text(*given[0]), ends));
}

Value split_method(const Self& self, const Arguments& arguments) {
  const BoundArguments given("split", {"sep", "maxsplit"}, arguments);
  const std::size_t most = at_most(given, 1);
  if (!given[0] || given[0]->is_none()) return list_of(words_of(self.text(), most), self.budget);
  const std::string& separator = expect_text(*given[0]);
  if (separator.empty()) throw TemplateFault("empty separator");
  return list_of(split(self.text(), separator, most), self.budget);
}

Value rsplit_method(const Self& self, const Arguments& arguments) {
  const BoundArguments given("rsplit", {"sep", "maxsplit"}, arguments);
  if (!given[0] || given[0]->is_none()) {
    if (at_most(given, 1) != std::string::npos) {
      throw TemplateFault("rsplit() with maxsplit needs a separator");
    }
    return list_of(words_of(self.text()), self.budget);
  }
  const std::string& separator = expect_text(*given[0]);
  if (separator.empty()) throw TemplateFault("empty separator");
  charge_backwards(self, separator);
  std::string_view rest = self.text();
  std::vector<std::string> parts;
  for (std::size_t most = at_most(given, 1); parts.size() < most;) {
    const std::size_t at = rest.rfind(separator);
    if (at == std::string_view::npos) break;
    parts.emplace_back(rest.substr(at + separator.size()));
    rest = rest.substr(0, at);
  }
  parts.emplace_back(rest);
  std::ranges::reverse(parts);
  return list_of(parts, self.budget);
}

Value splitlines(const Self& self, const Arguments& arguments) {
  const BoundArguments given("splitlines", {}, arguments);
  return list_of(lines_of(self.text()), self.budget);
}

/// startswith and endswith take one text or a tuple of them.
template <bool kStart>
Value has_end(const Self& self, const Arguments& arguments) {
  const BoundArguments given(kStart ? "startswith" : "endswith", {"prefix"}, arguments);
  const auto matches = [&](const Value& part) {
    const std::string& text = expect_text(part);
    return kStart ? self.text().starts_with(text) : self.text().ends_with(text);
  };
  const Value& parts = given.required(0);
  if (!parts.is_list()) return matches(parts);
  return std::ranges::any_of(parts.list().items, matches);
}

template <bool kPrefix>
Value without_end(const Self& self, const Arguments& arguments) {
  const BoundArguments given(kPrefix ? "removeprefix" : "removesuffix", {"part"}, arguments);
  const std::string& part = expect_text(given.required(0));
  const std::string& text = self.text();
  if (kPrefix && text.starts_with(part)) return text.substr(part.size());
  if (!kPrefix && text.ends_with(part)) return text.substr(0, text.size() - part.size());
  return self.value;
}

Value replace_method(const Self& self, const Arguments& arguments) {
  const BoundArguments given("replace", {"old", "new", "count"}, arguments);
  const std::string &from = expect_text(given.required(0)), &to = expect_text(given.required(1));
  const std::size_t places =
      from.empty() ? self.text().size() + 1 : self.text().size() / from.size();
  self.budget.charge_text(self.text().size());
  if (to.size() > from.size() && places > 0 && to.size() > kMostTemplateBytes / places) {
    // Rarely: count before anything is made.
    const std::size_t times = from.empty() ? places : split(self.text(), from).size() - 1;
    self.budget.charge_text(times > 0 && to.size() > kMostTemplateBytes / times
                                ? kMostTemplateBytes + 1
                                : times * to.size());
  }
  std::string out = replaced(self.text(), from, to, at_most(given, 2));
  self.budget.charge_text(out.size());
  return out;
}

template <std::string (*kMapped)(std::string_view)>
Value mapped(const Self& self, const Arguments& arguments) {
  const BoundArguments given("this method", {}, arguments);
  return kMapped(self.text());
}

/// The index of a part in characters, or -1.
template <bool kFirst>
Value find_method(const Self& self, const Arguments& arguments) {
  const BoundArguments given(kFirst ? "find" : "rfind", {"sub"}, arguments);
  const std::string& part = expect_text(given.required(0));
  if (!kFirst) charge_backwards(self, part);
  const std::size_t at = kFirst ? find_part(self.text(), part) : self.text().rfind(part);
  if (at == std::string::npos) return std::int64_t{-1};
  return static_cast<std::int64_t>(count_characters(self.text().substr(0, at)));
}

Value text_index(const Self& self, const Arguments& arguments) {
  Value at = find_method<true>(self, arguments);
  if (at.integer("") < 0) throw TemplateFault("substring not found");
  return at;
}

Value text_count(const Self& self, const Arguments& arguments) {
  const BoundArguments given("count", {"sub"}, arguments);
  const std::string& part = expect_text(given.required(0));
  if (part.empty()) return static_cast<std::int64_t>(count_characters(self.text()) + 1);
  return static_cast<std::int64_t>(split(self.text(), part).size() - 1);
}

Value join_method(const Self& self, const Arguments& arguments) {
  const BoundArguments given("join", {"iterable"}, arguments);
  std::string out;
  bool first = true;
  for (const Value& item : elements(given.required(0))) {
    if (!item.is_text()) {
      throw TemplateFault(str("join(): expected str, {} found", item.type_name()));
    }
    if (!std::exchange(first, false)) out += self.text();
    out += item.text();
    self.budget.charge();
    self.budget.charge_text(out.size() > kMostTemplateBytes ? out.size() : item.text().size());
  }
  return out;
}

/// The argument that a field of str.format() names; `next` is that of {}.
Value formatted_field(const std::string& field, std::size_t& next, const Arguments& arguments) {
  const bool is_number = std::ranges::all_of(field, [](char c) { return is_digit(c); });
  if (is_number && field.size() < 4) {
    const std::size_t index = field.empty() ? next++ : std::stoul(field);
    if (index < arguments.positional.size()) return arguments.positional[index];
  }
  for (const auto& [name, value] : arguments.named) {
    if (name == field) return value;
  }
  throw TemplateFault(str("format(): there is no argument for {{{}}}", field.substr(0, 40)));
}

/// str.format() with {}, {0} and {name}; what follows a name in the braces is not supported.
Value format(const Self& self, const Arguments& arguments) {
  std::string out;
  std::size_t next = 0;
  const std::string& text = self.text();
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool is_brace = text[at] == '{' || text[at] == '}';
    if (!is_brace || text.compare(at, 2, std::string(2, text[at])) == 0) {
      out += text[at];
      at += is_brace ? 1 : 0;
      continue;
    }
    const std::size_t end = text.find('}', at);
    if (text[at] == '}' || end == std::string::npos)
      throw TemplateFault("format(): a single brace");
    const std::string field = text.substr(at + 1, end - at - 1);
    out += printed(formatted_field(field, next, arguments));
    self.budget.charge_text(out.size() > kMostTemplateBytes ? out.size() : end - at);
    at = end;
  }
  return out;
}

template <bool (*kHas)(char32_t)>
Value all_characters(const Self& self, const Arguments& arguments) {
  const BoundArguments given("this method", {}, arguments);
  return !self.text().empty() &&
         std::ranges::all_of(characters(self.text()),
                             [](std::string_view c) { return kHas(code_point(c)); });
}

bool is_letter_or_digit(char32_t c) { return is_letter(c) || is_digit(c); }

Value list_index(const Self& self, const Arguments& arguments) {
  const BoundArguments given("index", {"value"}, arguments);
  const std::vector<Value>& items = self.value.list().items;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (equal(items[i], given.required(0))) return static_cast<std::int64_t>(i);
  }
  throw TemplateFault(str("{} is not in list", python_repr(given.required(0))));
}

Value list_count(const Self& self, const Arguments& arguments) {
  const BoundArguments given("count", {"value"}, arguments);
  return static_cast<std::int64_t>(std::ranges::count_if(
      self.value.list().items, [&](const Value& item) { return equal(item, given.required(0)); }));
}

Value copy_method(const Self& self, const Arguments& arguments) {
  const BoundArguments given("copy", {}, arguments);
  return self.value;  // which nobody can change
}

Value dict_get(const Self& self, const Arguments& arguments) {
  const BoundArguments given("get", {"key", "default"}, arguments);
  const Value* found = self.value.dict().find(given.required(0));
  return found ? *found : given.value_or(1, None{});
}

Value dict_items(const Self& self, const Arguments& arguments) {
  const BoundArguments given("items", {}, arguments);
  self.budget.charge(self.value.dict().items().size());
  return items_of(self.value.dict());
}

template <bool kKeys>
Value dict_column(const Self& self, const Arguments& arguments) {
  const BoundArguments given(kKeys ? "keys" : "values", {}, arguments);
  std::vector<Value> column;
  for (const auto& [key, value] : self.value.dict().items()) column.push_back(kKeys ? key : value);
  self.budget.charge(column.size());
  return column;
}

using Table = std::map<std::string_view, Method>;

const Table& text_methods() {
  static const Table table{{"strip", strip<true, true>},
                           {"lstrip", strip<true, false>},
                           {"rstrip", strip<false, true>},
                           {"split", split_method},
                           {"rsplit", rsplit_method},
                           {"splitlines", splitlines},
                           {"startswith", has_end<true>},
                           {"endswith", has_end<false>},
                           {"removeprefix", without_end<true>},
                           {"removesuffix", without_end<false>},
                           {"replace", replace_method},
                           {"upper", mapped<upper>},
                           {"lower", mapped<lower>},
                           {"title", mapped<titled>},
                           {"capitalize", mapped<capitalized>},
                           {"find", find_method<true>},
                           {"rfind", find_method<false>},
                           {"index", text_index},
                           {"count", text_count},
                           {"join", join_method},
                           {"format", format},
                           {"isdigit", all_characters<is_digit>},
                           {"isalpha", all_characters<is_letter>},
                           {"isalnum", all_characters<is_letter_or_digit>},
                           {"isspace", all_characters<is_space>}};
  return table;
}

const Table& list_methods() {
  static const Table table{{"index", list_index}, {"count", list_count}, {"copy", copy_method}};
  return table;
}

const Table& dict_methods() {
  static const Table table{{"get", dict_get},
                           {"items", dict_items},
                           {"keys", dict_column<true>},
                           {"values", dict_column<false>},
                           {"copy", copy_method}};
  return table;
}

/// What the sandbox of transformers forbids.
bool changes(const Value& value, const std::string& name) {
  constexpr std::array<std::string_view, 8> kOfLists = {"append", "clear", "pop",    "reverse",
                                                        "insert", "sort",  "extend", "remove"};
  constexpr std::array<std::string_view, 5> kOfDicts = {"clear", "pop", "popitem", "setdefault",
                                                        "update"};
  if (value.is_list()) return !value.list().is_tuple && std::ranges::count(kOfLists, name) > 0;
  return value.is_dict() && std::ranges::count(kOfDicts, name) > 0;
}

}  // namespace

std::optional<TemplateValue> method_of(const TemplateValue& value, const std::string& name,
                                       TemplateBudget& budget) {
  if (changes(value, name)) {
    return Undefined{
        str("access to attribute '{}' of '{}' object is unsafe.", name, value.type_name())};
  }
  static const Table none;
  const Table& table = value.is_text()   ? text_methods()
                       : value.is_list() ? list_methods()
                       : value.is_dict() ? dict_methods()
                                         : none;
  const auto found = table.find(name);
  if (found == table.end()) return std::nullopt;
  return template_function(
      [value, method = found->second, &budget](const CallArguments& arguments) {
        budget.charge(value.weight());
        for (const Value& argument : arguments.positional) budget.charge(argument.weight());
        return method({value, budget}, arguments);
      });
}

TemplateValue items_of(const TemplateDict& dict) {
  std::vector<Value> items;
  for (const auto& [key, value] : dict.items()) items.emplace_back(std::vector{key, value}, true);
  return items;
}

}  // namespace longspan
