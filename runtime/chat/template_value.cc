#include "runtime/chat/template_value.h"

#include <algorithm>
#include <cmath>

#include "comm/str.h"
#include "runtime/chat/unicode_text.h"

namespace longspan {
namespace {

using Value = TemplateValue;

/// One text for each key that Python tells apart: 1, 1.0 and True are one key, "1" is another.
std::string key_text(const Value& key) {
  if (key.is_text()) return "t" + key.text();
  if (key.is_none()) return "n";
  if (key.is_float()) return str("#{}", key.real());
  if (key.is_number()) return str("#{}", key.integer("a key"));
  if (key.is_list() && key.list().is_tuple) {
    std::string text = "(";
    for (const Value& item : key.list().items) {
      const std::string part = key_text(item);
      text += str("{}:{}", part.size(), part);
    }
    return text;
  }
  if (key.is_undefined()) refuse_undefined(key);
  if (key.is_object()) return str("o{}", static_cast<const void*>(key.object().get()));
  throw TemplateFault(str("unhashable type: '{}'", key.type_name()));
}

bool equal_lists(const TemplateList& a, const TemplateList& b) {
  return a.is_tuple == b.is_tuple && std::ranges::equal(a.items, b.items, equal);
}

bool equal_dicts(const TemplateDict& a, const TemplateDict& b) {
  if (a.items().size() != b.items().size()) return false;
  return std::ranges::all_of(a.items(), [&](const TemplateDict::Item& item) {
    const Value* other = b.find(item.first);
    return other && equal(item.second, *other);
  });
}

/// Whatever walks a value, its destructor too, goes as deep as it is.
int depth_around(const Value& value) {
  constexpr int kDeepest = 200;
  const int depth = value.depth() + 1;
  if (depth > kDeepest) {
    throw TemplateFault(
        str("lists and dictionaries lie in each other more than {} deep", kDeepest));
  }
  return depth;
}

std::size_t weight_with(std::size_t others, const Value& value) {
  constexpr std::size_t kHeaviest = std::size_t{1} << 20;
  const std::size_t weight = others + value.weight();
  if (weight > kHeaviest) throw TemplateFault("a list or dictionary holds too much");
  return weight;
}

}  // namespace

TemplateValue::TemplateValue(std::vector<TemplateValue> items, bool is_tuple) {
  TemplateList list{{}, is_tuple};
  for (const Value& item : items) {
    list.depth = std::max(list.depth, depth_around(item));
    list.weight = weight_with(list.weight, item);
  }
  list.items = std::move(items);
  value_ = std::make_shared<const TemplateList>(std::move(list));
}

TemplateValue::TemplateValue(TemplateDict dict)
    : value_(std::make_shared<const TemplateDict>(std::move(dict))) {}

double TemplateValue::real() const {
  if (is_float()) return std::get<double>(value_);
  return static_cast<double>(integer("a number"));
}

std::int64_t TemplateValue::integer(std::string_view what) const {
  if (is_integer()) return std::get<std::int64_t>(value_);
  if (is_bool()) return std::get<bool>(value_) ? 1 : 0;
  if (is_undefined()) refuse_undefined(*this);
  throw TemplateFault(str("{} must be an integer, not '{}'", what, type_name()));
}

int TemplateValue::depth() const {
  if (is_list()) return list().depth;
  return is_dict() ? dict().depth() : 0;
}

std::size_t TemplateValue::weight() const {
  if (is_text()) return 1 + text().size() / 64;
  if (is_list()) return list().weight;
  return is_dict() ? dict().weight() : 1;
}

bool TemplateValue::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_float()) return real() != 0;
  if (is_number()) return integer("a number") != 0;
  if (is_text()) return !text().empty();
  if (is_list()) return !list().items.empty();
  if (is_dict()) return !dict().items().empty();
  return true;
}

std::string_view TemplateValue::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_float()) return "float";
  if (is_text()) return "str";
  if (is_list()) return list().is_tuple ? "tuple" : "list";
  if (is_dict()) return "dict";
  return object()->type_name();
}

const void* TemplateValue::identity() const {
  if (is_text()) return std::get<Text>(value_).get();
  if (is_list()) return std::get<List>(value_).get();
  if (is_dict()) return std::get<Dict>(value_).get();
  if (is_object()) return object().get();
  return nullptr;
}

void TemplateDict::set(const TemplateValue& key, TemplateValue value) {
  depth_ = std::max(depth_, depth_around(value));
  weight_ = weight_with(weight_with(weight_, key), value);
  const auto [at, is_new] = index_.try_emplace(key_text(key), items_.size());
  if (is_new) {
    items_.emplace_back(key, std::move(value));
  } else {
    items_[at->second].second = std::move(value);
  }
}

const TemplateValue* TemplateDict::find(const TemplateValue& key) const {
  if (key.is_undefined()) return nullptr;
  const auto at = index_.find(key_text(key));
  return at == index_.end() ? nullptr : &items_[at->second].second;
}

const TemplateValue* TemplateDict::find(const std::string& key) const {
  const auto at = index_.find("t" + key);
  return at == index_.end() ? nullptr : &items_[at->second].second;
}

TemplateValue TemplateObject::call(const CallArguments&) {
  throw TemplateFault(str("'{}' object is not callable", type_name()));
}

bool is_hashable(const TemplateValue& key) {
  if (key.is_list()) {
    return key.list().is_tuple && std::ranges::all_of(key.list().items, is_hashable);
  }
  return !key.is_dict();
}

bool equal(const TemplateValue& a, const TemplateValue& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.real() == b.real();
    return a.integer("") == b.integer("");
  }
  if (a.is_text() && b.is_text()) return a.text() == b.text();
  if (a.is_list() && b.is_list()) return equal_lists(a.list(), b.list());
  if (a.is_dict() && b.is_dict()) return equal_dicts(a.dict(), b.dict());
  if (a.is_object() && b.is_object()) return a.object() == b.object();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const TemplateValue& a, const TemplateValue& b) {
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.real() < b.real();
    return a.integer("") < b.integer("");
  }
  if (a.is_text() && b.is_text()) return a.text() < b.text();  // UTF-8 has the order of code points
  if (a.is_list() && b.is_list() && a.list().is_tuple == b.list().is_tuple) {
    const auto& x = a.list().items;
    const auto& y = b.list().items;
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i])) return less(x[i], y[i]);
    }
    return x.size() < y.size();
  }
  throw TemplateFault(
      str("'<' not supported between instances of '{}' and '{}'", a.type_name(), b.type_name()));
}

bool contains(const TemplateValue& container, const TemplateValue& item) {
  if (container.is_text()) {
    if (item.is_text()) return find_part(container.text(), item.text()) != std::string::npos;
    throw TemplateFault(str("'in <string>' requires string as left operand, not {}",
                            item.is_undefined() ? "Undefined" : item.type_name()));
  }
  if (container.is_dict()) return container.dict().find(item) != nullptr;
  const std::vector<Value> items = elements(container);
  return std::ranges::any_of(items, [&](const Value& one) { return equal(one, item); });
}

std::vector<TemplateValue> elements(const TemplateValue& value) {
  std::vector<Value> list;
  if (value.is_list()) return value.list().items;
  if (value.is_dict()) {
    for (const auto& [key, ignored] : value.dict().items()) list.push_back(key);
  } else if (value.is_text()) {
    for (std::string_view character : characters(value.text())) {
      list.emplace_back(std::string(character));
    }
  } else if (!value.is_undefined()) {
    throw TemplateFault(str("'{}' object is not iterable", value.type_name()));
  }
  return list;
}

void refuse_undefined(const TemplateValue& value) { throw TemplateFault(value.undefined().reason); }

}  // namespace longspan
