// A template as a tree: what the parser makes and the interpreter walks.
//
// The depth of an expression is bounded, so that nothing that walks it runs out of stack, its
// destructor included.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/chat/template_value.h"

namespace longspan {

/// A template that is not well-formed, or uses what longspan does not have.
class TemplateSyntaxFault : public TemplateFault {
 public:
  TemplateSyntaxFault(int line, const std::string& what) : TemplateFault(what), line_(line) {}
  int line() const { return line_; }

 private:
  int line_;
};

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct Expression {
  enum class Kind {
    kConstant,   // value
    kName,       // text
    kList,       // parts
    kTuple,      // parts
    kDict,       // parts: key, value, key, value, ...
    kAttribute,  // parts[0].text
    kItem,       // parts[0][parts[1]]
    kSlice,      // parts[0][parts[1]:parts[2]:parts[3]], absent ones null
    kCall,       // parts[0](other parts, named)
    kFilter,     // parts[0] | text(other parts, named); parts[0] is null in a filter block
    kTest,       // parts[0] is text(other parts, named)
    kNot,        // parts[0], as all of one operand
    kNegative,
    kPositive,
    kAnd,  // parts[0], parts[1]
    kOr,
    kConcat,       // parts, as text
    kArithmetic,   // parts[0] text parts[1]
    kCompare,      // parts[0] operators[0] parts[1] operators[1] parts[2] ...
    kConditional,  // parts[0] if parts[1] else parts[2], which may be null
  };

  Kind kind = Kind::kConstant;
  int line = 1;
  int depth = 1;
  std::string text;
  TemplateValue value;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> operators;
};

struct Statement;
using Statements = std::vector<Statement>;

/// The names on the left of `set` or of a loop's `in`. One name takes the value, several take it
/// apart; one with an attribute is that of a namespace.
struct Target {
  std::vector<std::string> names;
  std::string attribute;
  bool is_tuple = false;
};

struct Parameter {
  std::string name;
  ExpressionPtr fallback;  // null: undefined when it is not given
};

struct Statement {
  enum class Kind {
    kText,         // text
    kOutput,       // value
    kIf,           // conditions[i]: bodies[i]; one more body is the else
    kFor,          // target in value, if condition; bodies: loop, else
    kSet,          // target = value
    kSetBlock,     // target = bodies[0], through value (filters) if there is one
    kWith,         // names and values in named, bodies[0]
    kMacro,        // text(parameters): bodies[0]
    kCall,         // value is the call, bodies[0] its caller(parameters)
    kFilterBlock,  // bodies[0] through value
    kScope,        // bodies[0]: {% generation %}, which marks text for training
    kBreak,
    kContinue,
  };

  Kind kind = Kind::kText;
  int line = 1;
  std::string text;
  ExpressionPtr value;
  std::vector<ExpressionPtr> conditions;
  Target target;
  bool is_recursive = false;  // a loop that may call itself
  std::vector<Parameter> parameters;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<Statements> bodies;
};

}  // namespace longspan
