// Cuts text into the pieces that merges never cross: words with the space before them, numbers,
// runs of punctuation, runs of white space.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

namespace longspan {

/// How a tokenizer cuts. kGpt2 is Hugging Face's ByteLevel pre-tokenizer (GPT-2's expression), to
/// which kSmolLm adds Digits(individual_digits) before it, so that each digit is a piece of its
/// own. The others are one Split() each, by an expression of the family.
enum class PieceRule { kGpt2, kSmolLm, kLlama3, kQwen2, kTekken };

std::string_view name(PieceRule rule);

/// The rule that `tokenizer.ggml.pre` names, if it is one of kPieceRuleNames.
std::optional<PieceRule> find_piece_rule(std::string_view name);
inline constexpr std::string_view kPieceRuleNames =
    "smollm, gpt-2, gpt2, default, llama-bpe, llama3, llama-v3, qwen2, deepseek-r1-qwen, tekken";

/// The rule whose Split() a tokenizer.json writes as `expression`, if it is a known one.
std::optional<PieceRule> find_split_rule(std::string_view expression);

/// A compiled rule. May be shared by threads.
class Pretokenizer {
 public:
  enum class Engine { kJitIfPossible, kInterpreter };

  explicit Pretokenizer(PieceRule rule, Engine engine = Engine::kJitIfPossible);
  ~Pretokenizer();
  Pretokenizer(Pretokenizer&&) noexcept;

  bool jit() const;

 private:
  friend class PieceReader;
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

/// The pieces of one text after another. Belongs to one thread; the Pretokenizer outlives it.
class PieceReader {
 public:
  explicit PieceReader(const Pretokenizer& pretokenizer);
  ~PieceReader();

  /// From now on next() cuts `text`, which must be UTF-8 and stay as it is.
  void start(std::string_view text);
  /// The next piece, or nothing at the end. Pieces are never empty and leave nothing out.
  std::optional<std::string_view> next();

 private:
  struct Workspace;
  const Pretokenizer& pretokenizer_;
  std::unique_ptr<Workspace> workspace_;
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace longspan
