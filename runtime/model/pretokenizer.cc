#include "runtime/model/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

// Spelled out, since PCRE2's \s also takes U+180E, which is white space no more.
constexpr char kSpaces[] =
    R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

// Numbers that are newer than PCRE2 10.42 (Unicode 14), up to Unicode 17. Digits() knows them,
// while the expression after it, Oniguruma's, does not.
constexpr char kNewerNumbers[] =
    R"(\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}\x{11de0}-\x{11de9})"
    R"(\x{11f50}-\x{11f59}\x{16130}-\x{16139}\x{16d70}-\x{16d79}\x{16ff4}-\x{16ff6})"
    R"(\x{1ccf0}-\x{1ccf9}\x{1d2c0}-\x{1d2d3}\x{1e4f0}-\x{1e4f9}\x{1e5f1}-\x{1e5fa})";

/// GPT-2's expression; white space before a word leaves its last character to the word.
///
/// Digits() cuts the digits out first and applies that expression to what lies between. In one
/// expression: a digit is a piece, and white space ends before a digit as it does before the end.
std::string gpt2_expression(bool single_digits) {
  const std::string numbers = std::string(R"(\p{N})") + (single_digits ? kNewerNumbers : "");
  const std::string number = single_digits ? "[" + numbers + "]" : " ?[" + numbers + "]+";
  const std::string ends_spaces = single_digits ? numbers : "";
  return number + R"(|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+)" +            //
         "| ?[^\\p{L}" + numbers + kSpaces + "]+" +                   //
         "|[" + kSpaces + "]+(?![^" + kSpaces + ends_spaces + "])" +  //
         "|[" + kSpaces + "]+";
}

// As the families' tokenizer.json have them.
constexpr std::string_view kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenSplit =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// `expression` with kSpaces for \s, inside a class or as one.
std::string with_spaces_spelled_out(std::string_view expression) {
  std::string spelled;
  bool in_class = false;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    const std::string_view two = expression.substr(i, 2);
    if (two == R"(\s)" || two == R"(\S)") {
      const std::string spaces = (two == R"(\S)" ? "^" : "") + std::string(kSpaces);
      spelled += in_class ? spaces : "[" + spaces + "]";
      ++i;
      continue;
    }
    if (expression[i] == '[') in_class = true;
    if (expression[i] == ']') in_class = false;
    spelled += expression[i];
  }
  return spelled;
}

std::string expression(PieceRule rule) {
  switch (rule) {
    case PieceRule::kGpt2:
      return gpt2_expression(false);
    case PieceRule::kSmolLm:
      return gpt2_expression(true);
    case PieceRule::kLlama3:
      return with_spaces_spelled_out(kLlama3Split);
    case PieceRule::kQwen2:
      return with_spaces_spelled_out(kQwen2Split);
    case PieceRule::kTekken:
      return with_spaces_spelled_out(kTekkenSplit);
  }
  expects(false, "a piece rule is one of the enumerators");
  return {};
}

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

template <auto kFree>
struct FreedBy {
  void operator()(auto* object) const { kFree(object); }
};
using Code = std::unique_ptr<pcre2_code, FreedBy<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, FreedBy<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, FreedBy<pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, FreedBy<pcre2_jit_stack_free>>;

// The expressions backtrack by single characters and need a few hundred bytes; the machine stack
// that PCRE2 would use otherwise may be a small one.
constexpr std::size_t kJitStackStart = 32 << 10;
constexpr std::size_t kJitStackMost = 1 << 20;

}  // namespace

std::string_view name(PieceRule rule) {
  switch (rule) {
    case PieceRule::kGpt2:
      return "gpt-2";
    case PieceRule::kSmolLm:
      return "smollm";
    case PieceRule::kLlama3:
      return "llama-bpe";
    case PieceRule::kQwen2:
      return "qwen2";
    case PieceRule::kTekken:
      return "tekken";
  }
  expects(false, "a piece rule is one of the enumerators");
  return {};
}

std::optional<PieceRule> find_piece_rule(std::string_view name) {
  if (name == "smollm") return PieceRule::kSmolLm;
  if (name == "gpt-2" || name == "gpt2" || name == "default") return PieceRule::kGpt2;
  if (name == "llama-bpe" || name == "llama3" || name == "llama-v3") return PieceRule::kLlama3;
  if (name == "qwen2" || name == "deepseek-r1-qwen") return PieceRule::kQwen2;
  if (name == "tekken") return PieceRule::kTekken;
  return std::nullopt;
}

std::optional<PieceRule> find_split_rule(std::string_view expression) {
  if (expression == kLlama3Split) return PieceRule::kLlama3;
  if (expression == kQwen2Split) return PieceRule::kQwen2;
  if (expression == kTekkenSplit) return PieceRule::kTekken;
  return std::nullopt;
}

struct Pretokenizer::Compiled {
  Code code;
  bool jit = false;
};

Pretokenizer::Pretokenizer(PieceRule rule, Engine engine)
    : compiled_(std::make_unique<Compiled>()) {
  const std::string source = expression(rule);
  int error = 0;
  PCRE2_SIZE where = 0;
  // Anchored: a piece begins where the last one ended.
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
                                      PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &where,
                                      nullptr));
  if (!compiled_->code) {
    throw DeviceError(
        str("the PCRE2 library refuses the tokenizer's expression at {}: {}; a build "
            "with Unicode support is needed",
            where, pcre2_message(error)));
  }
  // Where pages may not become executable, or PCRE2 has no JIT for the machine, it interprets.
  compiled_->jit = engine == Engine::kJitIfPossible &&
                   pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE) == 0;
}

Pretokenizer::~Pretokenizer() = default;
Pretokenizer::Pretokenizer(Pretokenizer&&) noexcept = default;

bool Pretokenizer::jit() const { return compiled_->jit; }

struct PieceReader::Workspace {
  MatchData match;
  MatchContext context;
  JitStack stack;  // null when interpreting
};

PieceReader::PieceReader(const Pretokenizer& pretokenizer)
    : pretokenizer_(pretokenizer), workspace_(std::make_unique<Workspace>()) {
  workspace_->match.reset(pcre2_match_data_create(1, nullptr));
  workspace_->context.reset(pcre2_match_context_create(nullptr));
  if (!workspace_->match || !workspace_->context) throw OutOfMemory("no memory to tokenize text");
  // The library counts steps back to stop runaway expressions; ours take a few per character, but a
  // text may have more characters than that count allows.
  pcre2_set_match_limit(workspace_->context.get(), std::numeric_limits<std::uint32_t>::max());
  if (!pretokenizer.jit()) return;
  workspace_->stack.reset(pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr));
  if (!workspace_->stack) throw OutOfMemory("no memory to tokenize text");
  pcre2_jit_stack_assign(workspace_->context.get(), nullptr, workspace_->stack.get());
}

PieceReader::~PieceReader() = default;

void PieceReader::start(std::string_view text) {
  text_ = text;
  at_ = 0;
}

std::optional<std::string_view> PieceReader::next() {
  if (at_ == text_.size()) return std::nullopt;
  const int found = pcre2_match(
      pretokenizer_.compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(),
      at_, PCRE2_NO_UTF_CHECK, workspace_->match.get(), workspace_->context.get());
  if (found < 0) {
    throw Error(ExitCode::kInternal,
                str("cannot cut the text into words at byte {} of {}: {}; please report this text",
                    at_, text_.size(), pcre2_message(found)));
  }
  const std::size_t end = pcre2_get_ovector_pointer(workspace_->match.get())[1];
  return text_.substr(std::exchange(at_, end), end - at_);
}

}  // namespace longspan
