// What expressions of a chat template are worth: Python's values, as far as templates use them.
//
// Values are cheap to copy: text, lists and dictionaries are shared and never change once made.
// Only a namespace changes, which is an object.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace longspan {

/// What went wrong in a template, in the words of Python or Jinja where they have some; whoever
/// renders adds the line.
class TemplateFault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class TemplateValue;
class TemplateDict;
class TemplateObject;

/// The value of a name, attribute or item that does not exist. Prints as nothing; most other uses
/// are a fault that says what is missing.
struct Undefined {
  std::string reason;  // "'tools' is undefined"
};
struct None {};

/// A list, or what Python would call a tuple: the two print differently and are never equal.
struct TemplateList {
  std::vector<TemplateValue> items;
  bool is_tuple = false;
  int depth = 1;           // of lists and dictionaries in each other
  std::size_t weight = 1;  // of all that is in it
};

class TemplateValue {
 public:
  using Text = std::shared_ptr<const std::string>;  // UTF-8
  using List = std::shared_ptr<const TemplateList>;
  using Dict = std::shared_ptr<const TemplateDict>;
  using Object = std::shared_ptr<TemplateObject>;

  TemplateValue() : value_(None{}) {}
  TemplateValue(Undefined undefined) : value_(std::move(undefined)) {}
  TemplateValue(None none) : value_(none) {}
  TemplateValue(bool flag) : value_(flag) {}
  TemplateValue(std::int64_t number) : value_(number) {}
  TemplateValue(double number) : value_(number) {}
  TemplateValue(std::string text) : value_(std::make_shared<const std::string>(std::move(text))) {}
  TemplateValue(const char* text) : TemplateValue(std::string(text)) {}
  TemplateValue(std::vector<TemplateValue> items, bool is_tuple = false);
  TemplateValue(TemplateDict dict);
  TemplateValue(Object object) : value_(std::move(object)) {}

  bool is_undefined() const { return holds<Undefined>(); }
  bool is_none() const { return holds<None>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_integer() const { return holds<std::int64_t>(); }  // and no bool
  bool is_float() const { return holds<double>(); }
  bool is_number() const { return is_bool() || is_integer() || is_float(); }
  bool is_text() const { return holds<Text>(); }
  bool is_list() const { return holds<List>(); }
  bool is_dict() const { return holds<Dict>(); }
  bool is_object() const { return holds<Object>(); }

  /// Of that kind only.
  const std::string& text() const { return *std::get<Text>(value_); }
  const TemplateList& list() const { return *std::get<List>(value_); }
  const TemplateDict& dict() const { return *std::get<Dict>(value_); }
  const Object& object() const { return std::get<Object>(value_); }
  const Undefined& undefined() const { return std::get<Undefined>(value_); }
  double real() const;  // of any number
  /// A bool or an integer, as Python's bool is an int; else a fault that says `what` must be one.
  std::int64_t integer(std::string_view what) const;

  /// How deep lists and dictionaries lie in each other; 0 for all else.
  int depth() const;
  /// What it costs to look at all of it: 1, and 1 for 64 bytes of text, and what its items weigh.
  /// One item that lies in a list twice counts twice: a small program makes a huge value so.
  std::size_t weight() const;
  /// As Python's bool().
  bool truth() const;
  /// Python's name of the type.
  std::string_view type_name() const;
  /// Which text, list, dictionary or object this is; nothing for plain values.
  const void* identity() const;

 private:
  template <typename Kind>
  bool holds() const {
    return std::holds_alternative<Kind>(value_);
  }

  std::variant<Undefined, None, bool, std::int64_t, double, Text, List, Dict, Object> value_;
};

/// Items in the order in which their keys came first.
class TemplateDict {
 public:
  using Item = std::pair<TemplateValue, TemplateValue>;

  /// Faults on a key that Python cannot hash.
  void set(const TemplateValue& key, TemplateValue value);
  const TemplateValue* find(const TemplateValue& key) const;
  const TemplateValue* find(const std::string& key) const;
  const std::vector<Item>& items() const { return items_; }
  int depth() const { return depth_; }
  std::size_t weight() const { return weight_; }

 private:
  std::vector<Item> items_;
  int depth_ = 1;
  std::size_t weight_ = 1;
  std::unordered_map<std::string, std::size_t> index_;  // by key_text()
};

struct CallArguments {
  std::vector<TemplateValue> positional;
  std::vector<std::pair<std::string, TemplateValue>> named;
};

/// What has attributes or can be called: a function, a macro, a namespace, `loop`.
class TemplateObject {
 public:
  virtual ~TemplateObject() = default;
  virtual std::string_view type_name() const = 0;
  virtual std::optional<TemplateValue> attribute(const std::string& name) = 0;
  virtual bool is_callable() const { return false; }
  virtual TemplateValue call(const CallArguments& arguments);
};

/// Whether Python could make `key` the key of a dictionary.
bool is_hashable(const TemplateValue& key);
/// As Python's ==, between values of any kinds.
bool equal(const TemplateValue& a, const TemplateValue& b);
/// As Python's <, and a fault between kinds that have no order.
bool less(const TemplateValue& a, const TemplateValue& b);
/// As Python's `in`.
bool contains(const TemplateValue& container, const TemplateValue& item);
/// What a loop goes over: items, keys or characters; nothing of what is undefined.
std::vector<TemplateValue> elements(const TemplateValue& value);

/// Throws the fault of using what is undefined.
[[noreturn]] void refuse_undefined(const TemplateValue& value);

}  // namespace longspan
