#include "runtime/chat/template_interpreter.h"

#include <algorithm>
#include <utility>

#include "comm/str.h"
#include "runtime/chat/template_arguments.h"
#include "runtime/chat/template_filters.h"
#include "runtime/chat/template_function.h"
#include "runtime/chat/template_loop.h"
#include "runtime/chat/template_nesting.h"
#include "runtime/chat/value_text.h"

namespace longspan {

using Value = TemplateValue;

struct TemplateInterpreter::Scope {
  std::unordered_map<std::string, Value> names;
  ScopePtr parent;
};

namespace {

/// As Python's dict(): of another dictionary or of pairs, then of names.
Value made_dict(const CallArguments& given) {
  TemplateDict dict;
  if (given.positional.size() > 1) throw TemplateFault("dict() takes one argument, and names");
  for (const Value& from : given.positional) {
    if (from.is_dict()) {
      dict = from.dict();
      continue;
    }
    for (const Value& item : elements(from)) {
      const std::vector<Value> pair = elements(item);
      if (pair.size() != 2) throw TemplateFault("dict() needs pairs of key and value");
      dict.set(pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : given.named) dict.set(name, value);
  return dict;
}

}  // namespace

/// Holds its scope weakly: the scope holds the macro.
class TemplateInterpreter::Macro : public TemplateObject {
 public:
  Macro(TemplateInterpreter& owner, const Statement& statement, const ScopePtr& scope)
      : owner_(owner), statement_(statement), scope_(scope) {}

  std::string_view type_name() const override { return "Macro"; }
  std::optional<Value> attribute(const std::string& name) override {
    if (name == "name") return Value(statement_.text);
    return std::nullopt;
  }
  bool is_callable() const override { return true; }
  Value call(const CallArguments& arguments) override {
    const ScopePtr scope = scope_.lock();
    if (!scope) throw TemplateFault("a macro was called outside of where it was defined");
    return owner_.call_macro(statement_, scope, arguments);
  }

 private:
  TemplateInterpreter& owner_;
  const Statement& statement_;
  std::weak_ptr<Scope> scope_;
};

TemplateInterpreter::TemplateInterpreter(const TemplateDict& variables)
    : globals_(std::make_shared<Scope>()) {
  auto& names = globals_->names;
  names["range"] = template_function([this](const auto& given) { return make_range(given); });
  names["namespace"] =
      template_function([this](const auto& given) { return make_namespace(given); });
  names["dict"] = template_function([](const CallArguments& given) { return made_dict(given); });
  for (const auto& [name, value] : variables.items()) names[name.text()] = value;
}

TemplateInterpreter::~TemplateInterpreter() {
  for (const auto& one : namespaces_) one->clear();
}

std::string TemplateInterpreter::render(const Statements& statements) {
  std::string out;
  run(statements, inside(globals_), out);
  return out;
}

TemplateInterpreter::ScopePtr TemplateInterpreter::inside(const ScopePtr& scope) {
  return std::make_shared<Scope>(Scope{{}, scope});
}

Value TemplateInterpreter::look_up(const Scope& scope, const std::string& name) const {
  for (const Scope* at = &scope; at != nullptr; at = at->parent.get()) {
    if (const auto found = at->names.find(name); found != at->names.end()) return found->second;
  }
  return Undefined{str("'{}' is undefined", name)};
}

void TemplateInterpreter::write(std::string& out, const std::string& text) {
  if (text.size() > kMostTemplateBytes - std::min(out.size(), kMostTemplateBytes)) {
    throw TemplateFault(str("writes more than {} bytes", kMostTemplateBytes));
  }
  out += text;
}

void TemplateInterpreter::write_value(std::string& out, const Value& value) {
  budget_.charge(value.weight());
  write(out, printed(value));
}

TemplateInterpreter::Flow TemplateInterpreter::run(const Statements& statements,
                                                   const ScopePtr& scope, std::string& out) {
  const TemplateNesting nested(depth_);
  for (const Statement& statement : statements) {
    const Flow flow = run(statement, scope, out);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

TemplateInterpreter::Flow TemplateInterpreter::run(const Statement& statement,
                                                   const ScopePtr& scope, std::string& out) {
  budget_.charge();
  line_ = statement.line;
  using enum Statement::Kind;
  switch (statement.kind) {
    case kText:
      write(out, statement.text);
      return Flow::kOn;
    case kOutput:
      write_value(out, evaluate(*statement.value, scope));
      return Flow::kOn;
    case kIf:
      return run_if(statement, scope, out);
    case kFor:
      return run_for(statement, scope, out);
    case kSet:
      assign(statement.target, evaluate(*statement.value, scope), scope);
      return Flow::kOn;
    case kSetBlock:
      set_block(statement, scope);
      return Flow::kOn;
    case kWith:
      return run_with(statement, scope, out);
    case kMacro:
      scope->names[statement.text] = make_macro(statement, scope);
      return Flow::kOn;
    case kCall:
      run_call(statement, scope, out);
      return Flow::kOn;
    case kFilterBlock:
      write(out,
            printed(filter_chain(*statement.value, text_of(statement.bodies[0], scope), scope)));
      return Flow::kOn;
    case kScope:
      write(out, text_of(statement.bodies[0], scope));
      return Flow::kOn;
    case kBreak:
      return Flow::kBreak;
    case kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

std::string TemplateInterpreter::text_of(const Statements& body, const ScopePtr& scope) {
  std::string text;
  run(body, inside(scope), text);
  return text;
}

TemplateInterpreter::Flow TemplateInterpreter::run_if(const Statement& statement,
                                                      const ScopePtr& scope, std::string& out) {
  std::size_t taken = 0;
  while (taken < statement.conditions.size() &&
         !evaluate(*statement.conditions[taken], scope).truth()) {
    ++taken;
  }
  return taken < statement.bodies.size() ? run(statement.bodies[taken], scope, out) : Flow::kOn;
}

TemplateInterpreter::Flow TemplateInterpreter::run_for(const Statement& statement,
                                                       const ScopePtr& scope, std::string& out) {
  return run_loop(statement, scope, evaluate(*statement.value, scope), 0, out);
}

TemplateInterpreter::Flow TemplateInterpreter::run_loop(const Statement& statement,
                                                        const ScopePtr& scope, const Value& over,
                                                        int depth, std::string& out) {
  std::vector<Value> items = elements(over);
  budget_.charge(items.size());
  TemplateLoop::Condition passes;
  if (!statement.conditions.empty()) {
    passes = [&](const Value& item) {
      const ScopePtr turn = inside(scope);
      assign(statement.target, item, turn);
      return evaluate(*statement.conditions[0], turn).truth();
    };
  }
  std::function<Value(const Value&)> again;
  if (statement.is_recursive) {
    again = [&, depth](const Value& inner) -> Value {
      std::string text;
      run_loop(statement, scope, inner, depth + 1, text);
      return text;
    };
  }
  const auto loop =
      std::make_shared<TemplateLoop>(std::move(items), std::move(passes), depth, std::move(again));
  // What the loop is made of ends with this function, but a template may have kept the loop.
  const std::unique_ptr<TemplateLoop, void (*)(TemplateLoop*)> leave(
      loop.get(), [](TemplateLoop* left) { left->leave(); });
  // As in Jinja, a turn that a break or continue ends does not keep the else from running.
  bool has_turned = false;
  Flow flow = Flow::kOn;
  while (flow != Flow::kBreak && loop->advance()) {
    const ScopePtr turn = inside(scope);
    assign(statement.target, loop->current(), turn);
    turn->names["loop"] = Value::Object(loop);
    flow = run(statement.bodies[0], turn, out);
    has_turned |= flow == Flow::kOn;
  }
  if (has_turned || statement.bodies.size() < 2) return Flow::kOn;
  return run(statement.bodies[1], inside(scope), out);
}

TemplateInterpreter::Flow TemplateInterpreter::run_with(const Statement& statement,
                                                        const ScopePtr& scope, std::string& out) {
  const ScopePtr inner = inside(scope);
  for (const auto& [name, value] : statement.named) inner->names[name] = evaluate(*value, scope);
  return run(statement.bodies[0], inner, out);
}

void TemplateInterpreter::run_call(const Statement& statement, const ScopePtr& scope,
                                   std::string& out) {
  const Expression& call = *statement.value;
  const Value function = evaluate(*call.parts[0], scope);
  CallArguments arguments = arguments_of(call, scope);
  arguments.named.emplace_back("caller", make_macro(statement, scope));
  if (function.is_undefined()) refuse_undefined(function);
  if (!function.is_object()) {
    throw TemplateFault(str("'{}' object is not callable", function.type_name()));
  }
  write(out, printed(function.object()->call(arguments)));
}

void TemplateInterpreter::set_block(const Statement& statement, const ScopePtr& scope) {
  Value text = text_of(statement.bodies[0], scope);
  if (statement.value) text = filter_chain(*statement.value, text, scope);
  assign(statement.target, text, scope);
}

void TemplateInterpreter::assign(const Target& target, const Value& value, const ScopePtr& scope) {
  if (!target.attribute.empty()) {
    const Value holder = look_up(*scope, target.names[0]);
    const auto space = holder.is_object()
                           ? std::dynamic_pointer_cast<TemplateNamespace>(holder.object())
                           : nullptr;
    if (!space) throw TemplateFault("cannot assign attribute on non-namespace object");
    space->set(target.attribute, value);
    return;
  }
  if (!target.is_tuple) {
    scope->names[target.names[0]] = value;
    return;
  }
  const std::vector<Value> parts = elements(value);
  if (parts.size() != target.names.size()) {
    throw TemplateFault(str("{} values to unpack (expected {}, got {})",
                            parts.size() < target.names.size() ? "not enough" : "too many",
                            target.names.size(), parts.size()));
  }
  for (std::size_t i = 0; i < parts.size(); ++i) scope->names[target.names[i]] = parts[i];
}

Value TemplateInterpreter::make_macro(const Statement& statement, const ScopePtr& scope) {
  return Value::Object(std::make_shared<Macro>(*this, statement, scope));
}

/// Parameters by place or name; `caller` comes from a call block.
Value TemplateInterpreter::call_macro(const Statement& macro, const ScopePtr& scope,
                                      const CallArguments& arguments) {
  const ScopePtr inner = inside(scope);
  const std::vector<Parameter>& parameters = macro.parameters;
  if (arguments.positional.size() > parameters.size()) {
    throw TemplateFault(
        str("macro '{}' takes not more than {} argument(s)", macro.text, parameters.size()));
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    inner->names[parameters[i].name] = arguments.positional[i];
  }
  for (const auto& [name, value] : arguments.named) {
    const bool is_known =
        name == "caller" || std::ranges::count(parameters, name, &Parameter::name);
    if (!is_known || !inner->names.try_emplace(name, value).second) {
      throw TemplateFault(str("macro '{}' takes no keyword argument '{}'", macro.text, name));
    }
  }
  for (const Parameter& parameter : parameters) {
    if (inner->names.contains(parameter.name)) continue;
    inner->names[parameter.name] =
        parameter.fallback
            ? evaluate(*parameter.fallback, inner)
            : Value(Undefined{str("parameter '{}' was not provided", parameter.name)});
  }
  std::string text;
  run(macro.bodies[0], inner, text);
  return text;
}

Value TemplateInterpreter::make_namespace(const CallArguments& arguments) {
  const auto made = std::make_shared<TemplateNamespace>();
  for (const Value& dict : arguments.positional) {
    if (!dict.is_dict()) throw TemplateFault("namespace() takes dictionaries and names");
    for (const auto& [key, value] : dict.dict().items()) made->set(printed(key), value);
  }
  for (const auto& [name, value] : arguments.named) made->set(name, value);
  namespaces_.push_back(made);
  return Value::Object(made);
}

Value TemplateInterpreter::make_range(const CallArguments& arguments) {
  constexpr std::int64_t kMost = 100'000;  // as jinja2's sandbox
  const BoundArguments given("range", {"start", "stop", "step"}, arguments);
  const std::int64_t first = given.required(0).integer("range()");
  const std::int64_t from = given[1] ? first : 0;
  const std::int64_t to = given.integer_or(1, first), step = given.integer_or(2, 1);
  if (step == 0) throw TemplateFault("range() arg 3 must not be zero");
  std::vector<Value> numbers;
  for (std::int64_t i = from; step > 0 ? i < to : i > to;) {
    if (std::ssize(numbers) == kMost) {
      throw TemplateFault(
          str("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMost));
    }
    budget_.charge();
    numbers.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return numbers;
}

}  // namespace longspan
