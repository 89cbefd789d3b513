// Text to token ids and back: byte-pair encoding (Sennrich et al., arXiv 1508.07909) over bytes, as
// GPT-2 does, or over characters, as SentencePiece does.
//
// Encoding is O(n log n) whatever the text: merges are taken from a heap over a linked list, so a
// megabyte of one letter costs what a megabyte of prose does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longspan {

class GgufFile;
struct TokenizerRules;

using TokenId = std::int32_t;

/// Bytes of a text for which a vocabulary has no token (SmolLM2's lacks 21 of 256). They are left
/// out, as Hugging Face's `tokenizers` does.
struct DroppedBytes {
  std::size_t count = 0;
  std::size_t first_offset = 0;  // of the first one in the text
  std::uint8_t first = 0;

  /// "2 bytes of the text have no token ...", one line. For whoever talks to the user.
  std::string warning() const;
};

class Tokenizer {
 public:
  /// From the file's `tokenizer.ggml.*` keys. Throws DataError naming the key when the tokenizer is
  /// of another kind or contradicts itself.
  explicit Tokenizer(const GgufFile& file);
  explicit Tokenizer(TokenizerRules rules);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  /// Special tokens written in the text ("<|im_start|>") become their ids. BOS and EOS are added
  /// where the file asks for them. Throws DataError with the byte offset when `text` is not UTF-8.
  /// Adds to `*dropped`, if given, what had to be left out; its offset counts normalised text. May
  /// be called by several threads.
  std::vector<TokenId> encode(std::string_view text, DroppedBytes* dropped = nullptr) const;

  /// The bytes of one token; special tokens as they are written. May be half a character.
  std::string_view bytes(TokenId id) const;
  /// All of them, with what is not UTF-8 replaced by U+FFFD, as in Detokenizer.
  std::string decode(std::span<const TokenId> ids) const;

  int vocabulary() const;
  TokenId end_of_text() const;            // generation stops here; -1 if the file names none
  std::span<const TokenId> ends() const;  // and at these: all that the file names
  bool drops_first_space() const;         // decode() does: it stands for the mark of the first word
  /// "gpt2 (smollm), 49152 tokens, 48900 merges", for people.
  std::string description() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// Turns a stream of tokens into text that never ends inside a character.
class Detokenizer {
 public:
  /// Whether the tokens begin a text or go on after one, whose last word ends there: then the space
  /// before the first word is kept.
  enum class Start { kText, kContinuation };

  explicit Detokenizer(const Tokenizer& tokenizer, Start start = Start::kText)
      : tokenizer_(&tokenizer),
        drops_space_(start == Start::kText && tokenizer.drops_first_space()) {}

  /// The text that became complete with this token; often empty, never half a character. Bytes that
  /// cannot begin or continue UTF-8 become U+FFFD, one per maximal ill-formed part, as the Unicode
  /// standard recommends (section 3.9) and Python's errors="replace" does.
  std::string push(TokenId id);
  /// What is left at the end: U+FFFD for an unfinished character, else nothing.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool drops_space_;  // the next byte, if it is one
  std::string pending_;
};

/// The offset of the first byte that is not UTF-8, or npos.
std::size_t find_invalid_utf8(std::string_view text);

}  // namespace longspan
