#include "runtime/chat/template_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "comm/str.h"
#include "runtime/chat/template_lexer.h"

namespace longspan {
namespace {

using Kind = Expression::Kind;
using Words = std::vector<std::string_view>;

/// Deep enough for any template that a person wrote, and far from the end of a thread's stack.
constexpr int kDeepest = 200;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(template_tokens(source)) {}

  Statements parse() {
    Statements body = statements({});
    if (current().kind != LexemeKind::kEnd) unknown_tag();
    return body;
  }

 private:
  // Tokens.

  const TemplateToken& current() const { return tokens_[at_]; }
  TemplateToken take() {
    TemplateToken token = current();
    if (token.kind != LexemeKind::kEnd) ++at_;
    return token;
  }
  bool is_operator(std::string_view text) const {
    return current().kind == LexemeKind::kOperator && current().text == text;
  }
  bool is_word(std::string_view text) const {
    return current().kind == LexemeKind::kName && current().text == text;
  }
  bool skip_operator(std::string_view text) {
    const bool found = is_operator(text);
    if (found) ++at_;
    return found;
  }
  bool skip_word(std::string_view text) {
    const bool found = is_word(text);
    if (found) ++at_;
    return found;
  }
  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) fail(str("expected token '{}', got {}", text, described(current())));
  }
  void expect_word(std::string_view text) {
    if (!skip_word(text)) fail(str("expected token '{}', got {}", text, described(current())));
  }
  void expect(LexemeKind kind, std::string_view what) {
    if (current().kind != kind) fail(str("expected {}, got {}", what, described(current())));
    ++at_;
  }
  std::string expect_name() {
    if (current().kind != LexemeKind::kName) {
      fail(str("expected a name, got {}", described(current())));
    }
    return take().text;
  }

  static std::string described(const TemplateToken& token) {
    switch (token.kind) {
      case LexemeKind::kText:
        return "text";
      case LexemeKind::kOutputBegin:
        return "'{{'";
      case LexemeKind::kOutputEnd:
        return "'}}'";
      case LexemeKind::kTagBegin:
        return "'{%'";
      case LexemeKind::kTagEnd:
        return "'%}'";
      case LexemeKind::kName:
      case LexemeKind::kString:
      case LexemeKind::kInteger:
      case LexemeKind::kFloat:
      case LexemeKind::kOperator:
        return "'" + token.text.substr(0, 40) + "'";
      case LexemeKind::kEnd:
        break;
    }
    return "the end of the template";
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw TemplateSyntaxFault(current().line, what);
  }

  /// Counts how deep statements and expressions lie in each other while it lives.
  class Nested {
   public:
    explicit Nested(Parser& parser) : depth_(parser.depth_) {
      if (++depth_ > kDeepest) parser.fail(str("nested more than {} deep", kDeepest));
    }
    ~Nested() { --depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    int& depth_;
  };

  // Expressions, the loosest first.

  std::unique_ptr<Expression> made(Kind kind) const {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->line = current().line;
    return made;
  }
  ExpressionPtr finished(std::unique_ptr<Expression> expression) const {
    const auto look_at = [&](const ExpressionPtr& part) {
      if (part) expression->depth = std::max(expression->depth, part->depth + 1);
    };
    for (const ExpressionPtr& part : expression->parts) look_at(part);
    for (const auto& [name, part] : expression->named) look_at(part);
    // A chain as a + b + c is as deep as it is long.
    constexpr int kLongestChain = 400;
    if (expression->depth > kLongestChain) fail(str("nested more than {} deep", kLongestChain));
    return expression;
  }
  template <typename... Parts>
  ExpressionPtr made_of(Kind kind, std::string text, Parts... parts) const {
    auto expression = made(kind);
    expression->text = std::move(text);
    (expression->parts.push_back(std::move(parts)), ...);
    return finished(std::move(expression));
  }

  ExpressionPtr expression() {
    const Nested nested(*this);
    ExpressionPtr value = either();
    while (skip_word("if")) {
      ExpressionPtr condition = either();
      ExpressionPtr otherwise = skip_word("else") ? expression() : nullptr;
      value = made_of(Kind::kConditional, "", std::move(value), std::move(condition),
                      std::move(otherwise));
    }
    return value;
  }

  ExpressionPtr either() {
    ExpressionPtr left = both();
    while (skip_word("or")) left = made_of(Kind::kOr, "", std::move(left), both());
    return left;
  }

  ExpressionPtr both() {
    ExpressionPtr left = negation();
    while (skip_word("and")) left = made_of(Kind::kAnd, "", std::move(left), negation());
    return left;
  }

  ExpressionPtr negation() {
    if (!is_word("not")) return comparison();
    const Nested nested(*this);
    ++at_;
    return made_of(Kind::kNot, "", negation());
  }

  std::string comparison_operator() {
    constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<", "<=", ">", ">="};
    for (std::string_view word : kOperators) {
      if (skip_operator(word)) return std::string(word);
    }
    if (skip_word("in")) return "in";
    const TemplateToken& next = tokens_[std::min(at_ + 1, tokens_.size() - 1)];
    if (is_word("not") && next.kind == LexemeKind::kName && next.text == "in") {
      at_ += 2;
      return "not in";
    }
    return "";
  }

  ExpressionPtr comparison() {
    ExpressionPtr left = sum();
    auto chain = made(Kind::kCompare);
    for (std::string word; !(word = comparison_operator()).empty();) {
      if (chain->parts.empty()) chain->parts.push_back(std::move(left));
      chain->operators.push_back(word);
      chain->parts.push_back(sum());
    }
    return chain->parts.empty() ? std::move(left) : finished(std::move(chain));
  }

  template <typename Operand>
  ExpressionPtr arithmetic(const Words& operators, const Operand& operand) {
    ExpressionPtr left = operand();
    for (;;) {
      const auto is_next = [&](std::string_view word) { return is_operator(word); };
      if (std::ranges::none_of(operators, is_next)) return left;
      std::string word = take().text;
      left = made_of(Kind::kArithmetic, std::move(word), std::move(left), operand());
    }
  }

  ExpressionPtr sum() {
    return arithmetic({"+", "-"}, [this] { return concatenation(); });
  }

  ExpressionPtr concatenation() {
    ExpressionPtr first = product();
    if (!is_operator("~")) return first;
    auto all = made(Kind::kConcat);
    all->parts.push_back(std::move(first));
    while (skip_operator("~")) all->parts.push_back(product());
    return finished(std::move(all));
  }

  ExpressionPtr product() {
    return arithmetic({"*", "/", "//", "%"}, [this] { return power(); });
  }

  ExpressionPtr power() {
    return arithmetic({"**"}, [this] { return signed_value(true); });
  }

  ExpressionPtr signed_value(bool with_filters) {
    const Nested nested(*this);
    ExpressionPtr value;
    if (skip_operator("-")) {
      value = made_of(Kind::kNegative, "", signed_value(false));
    } else if (skip_operator("+")) {
      value = made_of(Kind::kPositive, "", signed_value(false));
    } else {
      value = primary();
    }
    value = postfixed(std::move(value));
    return with_filters ? filtered(std::move(value)) : std::move(value);
  }

  ExpressionPtr constant(TemplateValue value) const {
    auto made_constant = made(Kind::kConstant);
    made_constant->value = std::move(value);
    return made_constant;
  }

  ExpressionPtr primary() {
    switch (current().kind) {
      case LexemeKind::kName:
        return name();
      case LexemeKind::kString: {
        std::string text;
        while (current().kind == LexemeKind::kString) text += take().text;
        return constant(std::move(text));
      }
      case LexemeKind::kInteger:
        return constant(number<std::int64_t>(take().text));
      case LexemeKind::kFloat:
        return constant(number<double>(take().text));
      case LexemeKind::kOperator:
        if (skip_operator("(")) return parenthesised();
        if (skip_operator("[")) return list_until("]", Kind::kList);
        if (skip_operator("{")) return dictionary();
        break;
      case LexemeKind::kText:
      case LexemeKind::kOutputBegin:
      case LexemeKind::kOutputEnd:
      case LexemeKind::kTagBegin:
      case LexemeKind::kTagEnd:
      case LexemeKind::kEnd:
        break;
    }
    fail(str("unexpected {}", described(current())));
  }

  ExpressionPtr name() {
    std::string word = take().text;
    if (word == "true" || word == "True") return constant(true);
    if (word == "false" || word == "False") return constant(false);
    if (word == "none" || word == "None") return constant(None{});
    return made_of(Kind::kName, std::move(word));
  }

  template <typename Number>
  Number number(const std::string& text) const {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) fail(str("the number {} is too large", text.substr(0, 40)));
    return value;
  }

  /// Behind "(".
  ExpressionPtr parenthesised() {
    if (skip_operator(")")) return made_of(Kind::kTuple, "");
    ExpressionPtr first = expression();
    if (skip_operator(")")) return first;
    expect_operator(",");
    return list_until(")", Kind::kTuple, std::move(first));
  }

  ExpressionPtr list_until(std::string_view end, Kind kind, ExpressionPtr first = nullptr) {
    auto list = made(kind);
    if (first) list->parts.push_back(std::move(first));
    while (!skip_operator(end)) {
      list->parts.push_back(expression());
      if (!is_operator(end)) expect_operator(",");
    }
    return finished(std::move(list));
  }

  ExpressionPtr dictionary() {
    auto dict = made(Kind::kDict);
    while (!skip_operator("}")) {
      dict->parts.push_back(expression());
      expect_operator(":");
      dict->parts.push_back(expression());
      if (!is_operator("}")) expect_operator(",");
    }
    return finished(std::move(dict));
  }

  ExpressionPtr postfixed(ExpressionPtr value) {
    for (;;) {
      if (skip_operator(".")) {
        if (current().kind == LexemeKind::kInteger) {
          ExpressionPtr index = constant(number<std::int64_t>(take().text));
          value = made_of(Kind::kItem, "", std::move(value), std::move(index));
        } else {
          std::string attribute = expect_name();
          value = made_of(Kind::kAttribute, std::move(attribute), std::move(value));
        }
      } else if (skip_operator("[")) {
        value = subscript(std::move(value));
      } else if (is_operator("(")) {
        value = call(std::move(value));
      } else {
        return value;
      }
    }
  }

  ExpressionPtr subscript(ExpressionPtr value) {
    ExpressionPtr bounds[3];
    int colons = 0;
    while (!is_operator("]")) {
      if (skip_operator(":")) {
        if (++colons > 2) fail("a slice has three parts at most");
      } else if (!bounds[colons]) {
        bounds[colons] = expression();
      } else {
        fail(str("expected ']', got {}", described(current())));
      }
    }
    expect_operator("]");
    if (colons > 0) {
      return made_of(Kind::kSlice, "", std::move(value), std::move(bounds[0]), std::move(bounds[1]),
                     std::move(bounds[2]));
    }
    if (!bounds[0]) fail("expected an index");
    return made_of(Kind::kItem, "", std::move(value), std::move(bounds[0]));
  }

  ExpressionPtr call(ExpressionPtr function) {
    auto call = made(Kind::kCall);
    call->parts.push_back(std::move(function));
    arguments(*call);
    return finished(std::move(call));
  }

  /// "(...)", if it is there.
  void arguments(Expression& to) {
    if (!skip_operator("(")) return;
    while (!skip_operator(")")) {
      if (is_operator("*") || is_operator("**")) fail("* and ** arguments are not supported");
      const TemplateToken& next = tokens_[std::min(at_ + 1, tokens_.size() - 1)];
      const bool is_named = current().kind == LexemeKind::kName &&
                            next.kind == LexemeKind::kOperator && next.text == "=";
      if (is_named) {
        std::string name = take().text;
        ++at_;
        to.named.emplace_back(std::move(name), expression());
      } else {
        if (!to.named.empty()) fail("invalid syntax for function call expression");
        to.parts.push_back(expression());
      }
      if (!is_operator(")")) expect_operator(",");
    }
  }

  ExpressionPtr filtered(ExpressionPtr value) {
    for (;;) {
      if (skip_operator("|")) {
        value = filter(std::move(value));
      } else if (skip_word("is")) {
        value = test(std::move(value));
      } else if (is_operator("(")) {
        value = call(std::move(value));
      } else {
        return value;
      }
    }
  }

  std::string dotted_name() {
    std::string name = expect_name();
    while (skip_operator(".")) name += "." + expect_name();
    return name;
  }

  ExpressionPtr filter(ExpressionPtr value) {
    auto filter = made(Kind::kFilter);
    filter->text = dotted_name();
    filter->parts.push_back(std::move(value));
    arguments(*filter);
    return finished(std::move(filter));
  }

  /// Filters without a value: of a filter block, or of `set` with a body.
  ExpressionPtr filter_chain() {
    ExpressionPtr value = filter(nullptr);
    while (skip_operator("|")) value = filter(std::move(value));
    return value;
  }

  ExpressionPtr test(ExpressionPtr value) {
    const bool is_negated = skip_word("not");
    auto test = made(Kind::kTest);
    test->text = dotted_name();
    test->parts.push_back(std::move(value));
    if (is_operator("(")) {
      arguments(*test);
    } else if (begins_operand()) {
      if (is_word("is")) fail("You cannot chain multiple tests with is");
      test->parts.push_back(postfixed(primary()));
    }
    ExpressionPtr made_test = finished(std::move(test));
    return is_negated ? made_of(Kind::kNot, "", std::move(made_test)) : std::move(made_test);
  }

  bool begins_operand() const {
    switch (current().kind) {
      case LexemeKind::kName:
        return !is_word("else") && !is_word("or") && !is_word("and");
      case LexemeKind::kString:
      case LexemeKind::kInteger:
      case LexemeKind::kFloat:
        return true;
      case LexemeKind::kOperator:
        return is_operator("[") || is_operator("{");
      case LexemeKind::kText:
      case LexemeKind::kOutputBegin:
      case LexemeKind::kOutputEnd:
      case LexemeKind::kTagBegin:
      case LexemeKind::kTagEnd:
      case LexemeKind::kEnd:
        break;
    }
    return false;
  }

  /// An expression, or several with commas between them, which are a tuple.
  ExpressionPtr expression_or_tuple() {
    ExpressionPtr first = expression();
    if (!is_operator(",")) return first;
    auto tuple = made(Kind::kTuple);
    tuple->parts.push_back(std::move(first));
    while (skip_operator(",")) {
      if (current().kind == LexemeKind::kTagEnd || current().kind == LexemeKind::kOutputEnd) break;
      tuple->parts.push_back(expression());
    }
    return finished(std::move(tuple));
  }

  // Statements.

  bool is_tag(const Words& words) const {
    if (current().kind != LexemeKind::kTagBegin) return false;
    const TemplateToken& word = tokens_[at_ + 1];  // a tag's begin is never the last token
    return word.kind == LexemeKind::kName && std::ranges::count(words, word.text) > 0;
  }

  /// Up to one of the tags of `ends`, which stays, or to the end.
  Statements statements(const Words& ends) {
    const Nested nested(*this);
    Statements list;
    for (;;) {
      switch (current().kind) {
        case LexemeKind::kText: {
          Statement text = made_statement(Statement::Kind::kText);
          text.text = take().text;
          list.push_back(std::move(text));
          break;
        }
        case LexemeKind::kOutputBegin: {
          ++at_;
          Statement output = made_statement(Statement::Kind::kOutput);
          output.value = expression_or_tuple();
          expect(LexemeKind::kOutputEnd, "'}}'");
          list.push_back(std::move(output));
          break;
        }
        case LexemeKind::kTagBegin:
          if (is_tag(ends)) return list;
          list.push_back(tag(ends));
          break;
        case LexemeKind::kEnd:
          return list;
        case LexemeKind::kOutputEnd:
        case LexemeKind::kTagEnd:
        case LexemeKind::kName:
        case LexemeKind::kString:
        case LexemeKind::kInteger:
        case LexemeKind::kFloat:
        case LexemeKind::kOperator:
          fail(str("unexpected {}", described(current())));
      }
    }
  }

  Statement made_statement(Statement::Kind kind) const {
    Statement statement;
    statement.kind = kind;
    statement.line = current().line;
    return statement;
  }

  void end_tag() { expect(LexemeKind::kTagEnd, "'%}'"); }

  /// The body up to {% `end` %}, behind which it goes.
  Statements body_until(std::string_view end) {
    end_tag();
    Statements body = statements({end});
    if (!is_tag({end})) {
      fail(str("unexpected end of template; '{}' is missing", end));
    }
    at_ += 2;
    end_tag();
    return body;
  }

  [[noreturn]] void unknown_tag() const {
    const TemplateToken& word = tokens_[std::min(at_ + 1, tokens_.size() - 1)];
    throw TemplateSyntaxFault(word.line, str("Encountered unknown tag {}", described(word)));
  }

  Statement tag(const Words& ends) {
    ++at_;
    const TemplateToken word = current();
    if (word.kind != LexemeKind::kName) {
      fail(str("tag name expected, got {}", described(current())));
    }
    ++at_;
    if (word.text == "if") return if_tag();
    if (word.text == "for") return for_tag();
    if (word.text == "set") return set_tag();
    if (word.text == "macro") return macro_tag();
    if (word.text == "call") return call_tag();
    if (word.text == "filter") return filter_tag();
    if (word.text == "with") return with_tag();
    if (word.text == "generation") return generation_tag();
    if (word.text == "break" || word.text == "continue") return jump_tag(word.text == "break");
    constexpr std::array<std::string_view, 8> kLeftOut = {"include", "extends", "block",      "raw",
                                                          "import",  "from",    "autoescape", "do"};
    if (std::ranges::count(kLeftOut, word.text) > 0) {
      throw TemplateSyntaxFault(word.line, str("longspan's templates have no '{}'", word.text));
    }
    const std::string hint = ends.empty() ? "" : str("; '{}' is still open", ends.back());
    throw TemplateSyntaxFault(word.line, str("Encountered unknown tag '{}'{}", word.text, hint));
  }

  Statement if_tag() {
    Statement statement = made_statement(Statement::Kind::kIf);
    for (;;) {
      statement.conditions.push_back(expression_or_tuple());
      end_tag();
      statement.bodies.push_back(statements({"elif", "else", "endif"}));
      begin_next_tag("endif");
      if (skip_word("elif")) continue;
      else_or_end(statement, "endif");
      return statement;
    }
  }

  /// Steps into the tag that ended a body; `missing` ends the statement.
  void begin_next_tag(std::string_view missing) {
    if (current().kind == LexemeKind::kEnd) {
      fail(str("unexpected end of template; '{}' is missing", missing));
    }
    ++at_;
  }

  /// The body of an `else`, if there is one, and the end of the statement.
  void else_or_end(Statement& statement, std::string_view end) {
    if (skip_word("else")) {
      statement.bodies.push_back(body_until(end));
    } else {
      expect_word(end);
      end_tag();
    }
  }

  Statement for_tag() {
    Statement statement = made_statement(Statement::Kind::kFor);
    statement.target = names();
    expect_word("in");
    // Without a condition of its own: `if` belongs to the loop.
    statement.value = either();
    if (is_operator(",")) {
      auto tuple = made(Kind::kTuple);
      tuple->parts.push_back(std::move(statement.value));
      while (skip_operator(",")) tuple->parts.push_back(either());
      statement.value = finished(std::move(tuple));
    }
    if (skip_word("if")) statement.conditions.push_back(expression());
    statement.is_recursive = skip_word("recursive");
    end_tag();
    ++loops_;
    statement.bodies.push_back(statements({"endfor", "else"}));
    --loops_;
    begin_next_tag("endfor");
    else_or_end(statement, "endfor");
    return statement;
  }

  Target names() {
    Target target;
    const bool has_parenthesis = skip_operator("(");
    target.names.push_back(expect_name());
    while (skip_operator(",")) {
      target.is_tuple = true;
      if (current().kind != LexemeKind::kName || is_word("in")) break;
      target.names.push_back(expect_name());
    }
    if (has_parenthesis) expect_operator(")");
    return target;
  }

  Statement set_tag() {
    Statement statement = made_statement(Statement::Kind::kSet);
    statement.target = names();
    if (!statement.target.is_tuple && skip_operator(".")) {
      statement.target.attribute = expect_name();
    }
    if (skip_operator("=")) {
      statement.value = expression_or_tuple();
      end_tag();
      return statement;
    }
    if (statement.target.is_tuple) fail(str("expected '=', got {}", described(current())));
    statement.kind = Statement::Kind::kSetBlock;
    if (skip_operator("|")) statement.value = filter_chain();
    statement.bodies.push_back(inner_body("endset"));
    return statement;
  }

  void parameters(Statement& statement) {
    expect_operator("(");
    while (!skip_operator(")")) {
      Parameter parameter{expect_name(), nullptr};
      if (skip_operator("=")) {
        parameter.fallback = expression();
      } else if (!statement.parameters.empty() && statement.parameters.back().fallback) {
        fail("non-default argument follows default argument");
      }
      statement.parameters.push_back(std::move(parameter));
      if (!is_operator(")")) expect_operator(",");
    }
  }

  /// A body from which no break or continue leads out.
  Statements inner_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Statements body = body_until(end);
    loops_ = loops;
    return body;
  }

  Statement macro_tag() {
    Statement statement = made_statement(Statement::Kind::kMacro);
    statement.text = expect_name();
    parameters(statement);
    statement.bodies.push_back(inner_body("endmacro"));
    return statement;
  }

  Statement call_tag() {
    Statement statement = made_statement(Statement::Kind::kCall);
    if (is_operator("(")) parameters(statement);
    statement.value = expression();
    if (statement.value->kind != Kind::kCall) fail("expected call");
    statement.bodies.push_back(inner_body("endcall"));
    return statement;
  }

  Statement filter_tag() {
    Statement statement = made_statement(Statement::Kind::kFilterBlock);
    statement.value = filter_chain();
    statement.bodies.push_back(inner_body("endfilter"));
    return statement;
  }

  Statement with_tag() {
    Statement statement = made_statement(Statement::Kind::kWith);
    while (current().kind != LexemeKind::kTagEnd) {
      if (!statement.named.empty()) expect_operator(",");
      std::string name = expect_name();
      expect_operator("=");
      statement.named.emplace_back(std::move(name), expression());
    }
    statement.bodies.push_back(body_until("endwith"));
    return statement;
  }

  Statement generation_tag() {
    Statement statement = made_statement(Statement::Kind::kScope);
    statement.bodies.push_back(inner_body("endgeneration"));
    return statement;
  }

  Statement jump_tag(bool is_break) {
    Statement statement =
        made_statement(is_break ? Statement::Kind::kBreak : Statement::Kind::kContinue);
    if (loops_ == 0) fail("break and continue stand in loops only");
    end_tag();
    return statement;
  }

  std::vector<TemplateToken> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;  // around the current statement
};

}  // namespace

Statements parse_template(std::string_view source) { return Parser(source).parse(); }

}  // namespace longspan
